"""Where the ranks meet: the store that torchrun or rank 0 keeps, and who has come to it."""

import itertools
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

_MEETINGS = itertools.count()


@dataclass(frozen=True)
class Place:
    """The store of this start, as one rank sees it.

    by_agent: torchrun's agent keeps it, else rank 0 does.
    meeting: tells a restart, say, from the start before, whose keys may still be in the store.
    """

    host: str
    port: int
    rank: int
    count: int
    by_agent: bool = False
    meeting: str = ""

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
            multi_tenant=True,  # a process may meet again before the last store is closed
            wait_for_workers=False,
            timeout=timedelta(seconds=ANSWER_S),
        )
        return PrefixStore(f"harness/{self.meeting}", tcp)

    def line(self) -> socket.socket:
        """A bare connection, which ends when the store does."""
        return socket.create_connection((self._reached_at, self.port), ANSWER_S)

    @property
    def _reached_at(self) -> str:
        # The keeper's host may not be known, or not be reached, by that name from itself.
        return "127.0.0.1" if self.is_kept_here else self.host


def place_of_environment() -> Place:
    """Of the variables that a launcher sets; each call is for another meeting of the ranks."""
    given = os.environ
    run = given.get("TORCHELASTIC_RUN_ID", "")
    restart = given.get("TORCHELASTIC_RESTART_COUNT", "0")
    return Place(
        given["MASTER_ADDR"],
        int(given["MASTER_PORT"]),
        int(given["RANK"]),
        int(given["WORLD_SIZE"]),
        by_agent=given.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        meeting=f"{run}/{restart}/{next(_MEETINGS)}",
    )


def meet(place: Place, within_s: float) -> tuple[Store, list[str]]:
    """The store, for the process group, and all ranks by name, once all have come.

    Raises:
        ValueError: the address is wrong, the port is taken, or two processes have one RANK.
        RankLost: naming the ranks that did not come in time.
    """
    deadline = time.monotonic() + within_s
    if not place.is_kept_here:
        _reach(place, deadline)
    store = _joined(place)
    _sign_in(place, store)
    _await_all(place, store, deadline)
    every = [json.loads(store.get(f"who/{rank}")) for rank in range(place.count)]
    return store, [f"rank {r} (host {host}, pid {pid})" for r, (host, pid) in enumerate(every)]


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


def _sign_in(place: Place, store: Store) -> None:
    if store.add(f"came/{place.rank}", 1) > 1:
        raise ValueError(
            f"RANK={place.rank} has come to {place.where} already; give every process a RANK of "
            "its own, and every group of processes that runs here a port of its own"
        )
    store.set(f"sign/{place.rank}", "{}")  # for the watchdogs of all who have come
    store.set(f"who/{place.rank}", json.dumps([socket.gethostname(), os.getpid()]))


def _await_all(place: Place, store: Store, deadline: float) -> None:
    missing = list(range(place.count))
    try:
        while missing := [rank for rank in missing if not store.check([f"who/{rank}"])]:
            if time.monotonic() > deadline:
                raise RankLost(_late(place, missing, "in time"))
            time.sleep(POLL_S)
    except DistError as error:
        raise RankLost(_late(place, missing, f"before {place.keeper} left")) from error


def _late(place: Place, missing: list[int], when: str) -> str:
    return (
        f"{place.count - len(missing)} of WORLD_SIZE={place.count} ranks came to {place.where} "
        f"{when}; not {', '.join(f'rank {rank}' for rank in missing)}: see what they say"
    )
