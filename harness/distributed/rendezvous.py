"""Connects the ranks through the store of torchrun or of rank 0. Checks that all have joined."""

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
NAME_S = 30.0  # a cluster may register the name of a host some time after its start


@dataclass(frozen=True)
class StoreAddress:
    """Holds the address of the store of one start, for one rank.

    `by_agent`: torchrun runs the store.

    `meeting` prefixes the keys of this start, since those of the start before may still be in the
    store. torchrun's own count of restarts differs between hosts.
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
        """Returns a new connection. `keep` starts the store, at MASTER_ADDR only."""
        bound = bind_socket(self._own, self.port) if keep and self._own else None
        if bound:
            tcp = start_store(bound.detach(), self.port, self._own)
        else:
            tcp = TCPStore(
                self._reached_at,
                self.port,
                is_master=keep,
                multi_tenant=True,  # a process may start again before the last store is closed
                wait_for_workers=False,
                timeout=timedelta(seconds=ANSWER_S),
            )
        return PrefixStore(f"harness/{self.meeting}", tcp)

    def connect(self) -> socket.socket:
        """Returns a plain connection, which ends when the store does."""
        return socket.create_connection((self._reached_at, self.port), ANSWER_S)

    @property
    def _reached_at(self) -> str:
        # The host of the store may not resolve or reach itself by that name.
        return (self._own or "127.0.0.1") if self.is_host else self.host

    @cached_property
    def _own(self) -> str:
        return local_address(self.host)


def address_from_environment() -> StoreAddress:
    variables = os.environ
    return StoreAddress(
        variables["MASTER_ADDR"],
        int(variables["MASTER_PORT"]),
        int(variables["RANK"]),
        int(variables["WORLD_SIZE"]),
        by_agent=variables.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )


def rendezvous(address: StoreAddress, within_s: float) -> tuple[StoreAddress, Store, list[str]]:
    """Waits until all ranks have joined.

    Returns the address with its meeting, the store, and rank names.

    Raises:
        WrongEnvironment: The address is wrong, the port is in use, or two processes have one RANK.
        RankLost: Some ranks did not join in time. The error names them.
    """
    deadline = time.monotonic() + within_s
    if not address.is_host:
        _reach(address, deadline)
    elif not address._own:
        print(
            f"harness: MASTER_ADDR={address.host} is no address of this host for other hosts, so "
            "the store of the ranks listens at all its addresses; set MASTER_ADDR to one of them",
            file=sys.stderr,
        )
    store = _joined(address)
    try:
        name = (_lead if address.rank == 0 else _follow)(address, store, deadline)
        meeting = PrefixStore(name, store)
        processes = [json.loads(meeting.get(f"who/{rank}")) for rank in range(address.world_size)]
    except (RankLost, WrongEnvironment):
        raise
    except (ValueError, TypeError) as error:
        raise WrongEnvironment(
            f"{address.where}: the store of the ranks holds data of another program ({error}); "
            "give every group its own port, which other programs cannot reach"
        ) from error
    except RuntimeError as error:
        raise RankLost(
            f"{address.owner} left {address.where} before all {address.world_size} ranks "
            "had joined; see the output of the ranks"
        ) from error
    names = [f"rank {rank} (host {host}, pid {pid})" for rank, (host, pid) in enumerate(processes)]
    return replace(address, meeting=name), meeting, names


def run_with_timeout(seconds: float, work: Callable[[], T]) -> T:
    """Returns or raises the result of `work()`. A longer call continues in its thread.

    Raises:
        TimeoutError: `work` took longer.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    # Not an executor, whose threads Python joins at exit.
    Thread(target=run, daemon=True).start()
    return future.result(max(seconds, 0))


def _reach(address: StoreAddress, deadline: float) -> None:
    """Waits until the store accepts connections.

    torch itself would log a traceback for every attempt.
    """
    started = time.monotonic()
    while True:
        try:
            address.connect().close()
            return
        except OSError as error:
            now = time.monotonic()
            unknown = isinstance(error, socket.gaierror)
            if unknown and now > min(deadline, started + NAME_S):
                raise WrongEnvironment(
                    f"MASTER_ADDR={address.host}: rank {address.rank} cannot resolve this host "
                    f"({error}); give the name or address of rank 0's host"
                ) from error
            if now > deadline:
                raise RankLost(
                    f"{address.owner} accepted no connection at {address.where} for "
                    f"{now - started:.0f} s ({error}); check that it runs and the address is right"
                ) from error
        time.sleep(POLL_S)


def _joined(address: StoreAddress) -> Store:
    try:
        return run_with_timeout(ANSWER_S, lambda: address.store(keep=address.is_host))
    except TimeoutError:
        raise WrongEnvironment(
            f"{address.where} accepts connections, but is no store of a process group; "
            "give the host of rank 0 and a port that is free there"
        ) from None
    except RuntimeError as error:  # older releases raise no DistError here
        taken = f"MASTER_PORT={address.port} is taken on rank 0's host"
        why = taken if "EADDRINUSE" in str(error) else f"{address.where} cannot be used ({error})"
        raise WrongEnvironment(f"{why}; choose a free port, the same for all ranks") from error


def _lead(address: StoreAddress, store: Store, deadline: float) -> str:
    """Returns a new meeting after all ranks have joined."""
    name = uuid4().hex
    meeting = PrefixStore(name, store)
    _sign_in(address, meeting)
    store.set("meeting", name)
    while missing := _missing(address, meeting):
        if time.monotonic() > deadline:
            raise RankLost(_late(address, missing))
        time.sleep(POLL_S)
    meeting.set("begun", "")
    return name


def _follow(address: StoreAddress, store: Store, deadline: float) -> str:
    """Returns rank 0's meeting after all ranks have joined, not one from before a restart."""
    name, welcome, missing = "", False, [0]
    while time.monotonic() < deadline:
        if store.check(["meeting"]) and (latest := store.get("meeting").decode()) != name:
            name, meeting = latest, PrefixStore(latest, store)
            welcome = _sign_in(address, meeting)
        if welcome and meeting.check(["begun"]):
            return name
        missing = _missing(address, meeting) if welcome else [0]
        time.sleep(POLL_S)
    if name and not welcome and not address.by_agent:
        raise WrongEnvironment(
            f"RANK={address.rank} has joined {address.where} already; give every process its own "
            "RANK, and every group of processes on this host its own port"
        )
    raise RankLost(_late(address, missing))


def _sign_in(address: StoreAddress, meeting: Store) -> bool:
    """Returns True if no other process has joined with this rank."""
    if meeting.add(f"came/{address.rank}", 1) > 1:
        return False
    meeting.set(f"sign/{address.rank}", "{}")  # for the watchdogs of the ranks that have joined
    meeting.set(f"who/{address.rank}", json.dumps([socket.gethostname(), os.getpid()]))
    return True


def _missing(address: StoreAddress, meeting: Store) -> list[int]:
    return [rank for rank in range(address.world_size) if not meeting.check([f"who/{rank}"])]


def _late(address: StoreAddress, missing: list[int]) -> str:
    return (
        f"{address.world_size - len(missing)} of WORLD_SIZE={address.world_size} ranks joined "
        f"{address.where} in time, not {', '.join(f'rank {rank}' for rank in missing)}; see their "
        "output, or raise ranks.timeout_s"
    )
