"""Where the ranks meet: the store that torchrun or rank 0 keeps, and who has come to it."""

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from threading import Thread
from typing import TypeVar
from uuid import uuid4

from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import PrefixStore, Store

from harness.distributed.store_server import ANSWER_S, bind_socket, local_address, start_store
from harness.system.errors import RankLost, WrongEnvironment

T = TypeVar("T")

POLL_S = 0.05
NAME_S = 30.0  # a cluster may add the name of a host a while after its start


@dataclass(frozen=True)
class StoreAddress:
    """The store of this start, as one rank sees it.

    by_agent: torchrun's agent keeps it, else rank 0 does.
    meeting: sets the keys of one start apart from those of the start before, which may still be
        in the store. torchrun's own count of restarts differs from host to host.
    """

    host: str
    port: int
    rank: int
    world_size: int
    by_agent: bool = False
    meeting: str = ""

    @property
    def is_host(self) -> bool:
        return self.rank == 0 and not self.by_agent

    @property
    def owner(self) -> str:
        return "torchrun" if self.by_agent else "rank 0"

    @property
    def where(self) -> str:
        return f"MASTER_ADDR:MASTER_PORT {self.host}:{self.port}"

    def store(self, keep: bool = False) -> Store:
        """A connection of its own; `keep` starts the store, at MASTER_ADDR alone."""
        bound = bind_socket(self._own, self.port) if keep and self._own else None
        if bound:
            tcp = start_store(bound.detach(), self.port, self._own)
        else:
            tcp = TCPStore(
                self._reached_at,
                self.port,
                is_master=keep,
                multi_tenant=True,  # a process may meet again before the last store is closed
                wait_for_workers=False,
                timeout=timedelta(seconds=ANSWER_S),
            )
        return PrefixStore(f"harness/{self.meeting}", tcp)

    def connect(self) -> socket.socket:
        """A bare connection, which ends when the store does."""
        return socket.create_connection((self._reached_at, self.port), ANSWER_S)

    @property
    def _reached_at(self) -> str:
        # The keeper's host may not be known, or not be reached, by that name from itself.
        return (self._own or "127.0.0.1") if self.is_host else self.host

    @cached_property
    def _own(self) -> str:
        return local_address(self.host)


def address_from_environment() -> StoreAddress:
    given = os.environ
    return StoreAddress(
        given["MASTER_ADDR"],
        int(given["MASTER_PORT"]),
        int(given["RANK"]),
        int(given["WORLD_SIZE"]),
        by_agent=given.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )


def rendezvous(place: StoreAddress, within_s: float) -> tuple[StoreAddress, Store, list[str]]:
    """The place with its meeting, its store for the process group, and all ranks by name, once
    all have come.

    Raises:
        WrongEnvironment: the address is wrong, the port is taken, or two processes have one RANK.
        RankLost: naming the ranks that did not come in time.
    """
    deadline = time.monotonic() + within_s
    if not place.is_host:
        _reach(place, deadline)
    elif not place._own:
        print(
            f"harness: MASTER_ADDR={place.host} names no address by which others reach this host, "
            "so the store of the ranks listens at all of its addresses; give one as MASTER_ADDR",
            file=sys.stderr,
        )
    store = _joined(place)
    try:
        name = (_lead if place.rank == 0 else _follow)(place, store, deadline)
        meeting = PrefixStore(name, store)
        every = [json.loads(meeting.get(f"who/{rank}")) for rank in range(place.world_size)]
    except (RankLost, WrongEnvironment):
        raise
    except (ValueError, TypeError) as error:
        raise WrongEnvironment(
            f"{place.where}: somebody else has written into the store of the ranks ({error}); "
            "give every group a port of its own, which others cannot reach"
        ) from error
    except RuntimeError as error:
        raise RankLost(
            f"{place.owner} left {place.where} before all {place.world_size} ranks had come; see what "
            "the ranks say"
        ) from error
    names = [f"rank {rank} (host {host}, pid {pid})" for rank, (host, pid) in enumerate(every)]
    return replace(place, meeting=name), meeting, names


def run_with_timeout(seconds: float, work: Callable[[], T]) -> T:
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


def _reach(place: StoreAddress, deadline: float) -> None:
    """Waits until the store takes connections; torch itself would log pages meanwhile."""
    started = time.monotonic()
    while True:
        try:
            place.connect().close()
            return
        except OSError as error:
            now = time.monotonic()
            unknown = isinstance(error, socket.gaierror)
            if unknown and now > min(deadline, started + NAME_S):
                raise WrongEnvironment(
                    f"MASTER_ADDR={place.host}: rank {place.rank} knows no such host ({error}); "
                    "give the name or address of rank 0's host"
                ) from error
            if now > deadline:
                raise RankLost(
                    f"{place.owner} took no connection at {place.where} for "
                    f"{now - started:.0f} s ({error}); is it started, and is the address right?"
                ) from error
        time.sleep(POLL_S)


def _joined(place: StoreAddress) -> Store:
    try:
        return run_with_timeout(ANSWER_S, lambda: place.store(keep=place.is_host))
    except TimeoutError:
        raise WrongEnvironment(
            f"{place.where} takes connections, but does not answer like the store of a group; "
            "give the host of rank 0 and a port that is free there"
        ) from None
    except RuntimeError as error:  # of older releases, which know no DistError here
        taken = f"MASTER_PORT={place.port} is taken on rank 0's host"
        why = taken if "EADDRINUSE" in str(error) else f"{place.where} cannot be used ({error})"
        raise WrongEnvironment(f"{why}; choose a free port, the same for all ranks") from error


def _lead(place: StoreAddress, store: Store, deadline: float) -> str:
    """A new meeting, once all ranks have signed in."""
    name = uuid4().hex
    meeting = PrefixStore(name, store)
    _sign_in(place, meeting)
    store.set("meeting", name)
    while missing := _missing(place, meeting):
        if time.monotonic() > deadline:
            raise RankLost(_late(place, missing))
        time.sleep(POLL_S)
    meeting.set("begun", "")
    return name


def _follow(place: StoreAddress, store: Store, deadline: float) -> str:
    """Rank 0's meeting, once all ranks have signed in; not one from before a restart."""
    name, welcome, missing = "", False, [0]
    while time.monotonic() < deadline:
        if store.check(["meeting"]) and (latest := store.get("meeting").decode()) != name:
            name, meeting = latest, PrefixStore(latest, store)
            welcome = _sign_in(place, meeting)
        if welcome and meeting.check(["begun"]):
            return name
        missing = _missing(place, meeting) if welcome else [0]
        time.sleep(POLL_S)
    if name and not welcome and not place.by_agent:
        raise WrongEnvironment(
            f"RANK={place.rank} has come to {place.where} already; give every process a RANK of "
            "its own, and every group of processes that runs here a port of its own"
        )
    raise RankLost(_late(place, missing))


def _sign_in(place: StoreAddress, meeting: Store) -> bool:
    """Whether nobody has done so with this rank."""
    if meeting.add(f"came/{place.rank}", 1) > 1:
        return False
    meeting.set(f"sign/{place.rank}", "{}")  # for the watchdogs of all who have come
    meeting.set(f"who/{place.rank}", json.dumps([socket.gethostname(), os.getpid()]))
    return True


def _missing(place: StoreAddress, meeting: Store) -> list[int]:
    return [rank for rank in range(place.world_size) if not meeting.check([f"who/{rank}"])]


def _late(place: StoreAddress, missing: list[int]) -> str:
    return (
        f"{place.world_size - len(missing)} of WORLD_SIZE={place.world_size} ranks came to {place.where} in "
        f"time, not {', '.join(f'rank {rank}' for rank in missing)}; see what they say, or set "
        "ranks.timeout_s higher"
    )
