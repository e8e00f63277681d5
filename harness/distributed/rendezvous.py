"""Where the ranks meet: the store that torchrun or rank 0 keeps, and who has come to it."""

import json
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from threading import Thread
from typing import TypeVar

from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import PrefixStore, Store

from harness.distributed.roll import RankLost

T = TypeVar("T")

POLL_S = 0.05
ANSWER_S = 30.0  # of a store that is there
NAME_S = 30.0  # a cluster may add the name of a host a while after its start


@dataclass(frozen=True)
class Place:
    """The store of this start, as one rank sees it.

    by_agent: torchrun's agent keeps it, else rank 0 does.
    start: tells a restart from the start before, whose keys may still lie in the store.
    """

    host: str
    port: int
    rank: int
    count: int
    by_agent: bool = False
    start: str = ""

    @property
    def is_kept_here(self) -> bool:
        return self.rank == 0 and not self.by_agent

    @property
    def keeper(self) -> str:
        return "torchrun" if self.by_agent else "rank 0"

    @property
    def where(self) -> str:
        return f"MASTER_ADDR:MASTER_PORT {self.host}:{self.port}"

    def store(self, keep: bool = False) -> Store:
        """A connection of its own; `keep` starts the store."""
        tcp = TCPStore(
            self._reached_at,
            self.port,
            is_master=keep,
            wait_for_workers=False,
            timeout=timedelta(seconds=ANSWER_S),
        )
        return PrefixStore(f"harness/{self.start}", tcp)

    def line(self) -> socket.socket:
        """A bare connection, which ends when the store does."""
        return socket.create_connection((self._reached_at, self.port), ANSWER_S)

    @property
    def _reached_at(self) -> str:
        # The keeper's host may not be known, or not be reached, by that name from itself.
        return "127.0.0.1" if self.is_kept_here else self.host


def place_of_environment() -> Place:
    of = os.environ
    return Place(
        of["MASTER_ADDR"],
        int(of["MASTER_PORT"]),
        int(of["RANK"]),
        int(of["WORLD_SIZE"]),
        of.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        f"{of.get('TORCHELASTIC_RUN_ID', '')}/{of.get('TORCHELASTIC_RESTART_COUNT', '0')}",
    )


def meet(place: Place, within_s: float) -> tuple[Store, list[str]]:
    """The store, for the process group, and all ranks by name, once all have come.

    Raises:
        ValueError: the address is wrong, or the port is taken.
        RankLost: naming the ranks that did not come in time.
    """
    deadline = time.monotonic() + within_s
    if not place.is_kept_here:
        _reach(place, deadline)
    store = _joined(place)
    try:
        return store, _names(place, store, deadline)
    except DistError as error:
        raise RankLost(
            f"the store at {place.where} went away before all {place.count} ranks had come; see "
            "what the other ranks say"
        ) from error


def in_time(seconds: float, work: Callable[[], T]) -> T:
    """What `work()` returns or raises; it goes on unheeded if that takes longer.

    Raises:
        TimeoutError
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    # Not an executor, whose threads Python waits for at its end.
    Thread(target=run, daemon=True).start()
    return future.result(max(seconds, 0))


def _reach(place: Place, deadline: float) -> None:
    """Waits until the store takes connections; torch itself would log pages meanwhile."""
    started = time.monotonic()
    while True:
        try:
            place.line().close()
            return
        except OSError as error:
            now = time.monotonic()
            unknown = isinstance(error, socket.gaierror)
            if unknown and now > min(deadline, started + NAME_S):
                raise ValueError(
                    f"MASTER_ADDR={place.host}: rank {place.rank} knows no such host ({error}); "
                    "give the name or address of rank 0's host"
                ) from error
            if now > deadline:
                raise RankLost(
                    f"{place.keeper} took no connection at {place.where} for "
                    f"{now - started:.0f} s ({error}); is it started, and is the address right?"
                ) from error
        time.sleep(POLL_S)


def _joined(place: Place) -> Store:
    try:
        return in_time(ANSWER_S, lambda: place.store(keep=place.is_kept_here))
    except TimeoutError:
        raise ValueError(
            f"{place.where} takes connections, but does not answer like the store of a group; "
            "give the host of rank 0 and a port that is free there"
        ) from None
    except DistError as error:
        taken = f"MASTER_PORT={place.port} is taken on rank 0's host"
        why = taken if "EADDRINUSE" in str(error) else f"{place.where} cannot be used ({error})"
        raise ValueError(f"{why}; choose a free port, the same for all ranks") from error


def _names(place: Place, store: Store, deadline: float) -> list[str]:
    store.set(f"sign/{place.rank}", "{}")  # who comes can be read by the watchdogs from now on
    store.set(f"who/{place.rank}", json.dumps([socket.gethostname(), os.getpid()]))
    missing = list(range(place.count))
    while missing := [rank for rank in missing if not store.check([f"who/{rank}"])]:
        if time.monotonic() > deadline:
            named = ", ".join(f"rank {rank}" for rank in missing)
            raise RankLost(
                f"{place.count - len(missing)} of WORLD_SIZE={place.count} ranks came in time to "
                f"{place.where}; missing: {named}; see what they say"
            )
        time.sleep(POLL_S)
    every = [json.loads(store.get(f"who/{rank}")) for rank in range(place.count)]
    return [f"rank {rank} (host {host}, pid {pid})" for rank, (host, pid) in enumerate(every)]
