"""Identifies the process that left something on disk, tells whether it runs; pauses collection."""

import gc
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """Identifies a process and the system in which its number is valid.

    Args:
        pid: Number of the process.
        host: Name of the machine.
        boot: Identifier of the machine's start.
        namespace: Process namespace. Containers of one machine may share its name.
        began: Clock ticks after the boot, which distinguish later processes of the same number.
            Fields are empty where the system does not report them.
    """

    pid: int
    host: str
    boot: str = ""
    namespace: str = ""
    began: str = ""

    @property
    def is_local(self) -> bool:
        """Returns True if this process could see that one, so that a missing process has ended."""
        return (self.host, self.boot, self.namespace) == _system()

    @property
    def is_alive(self) -> bool:
        return is_process_alive(self.pid, self.began)

    @property
    def is_suspended(self) -> bool:
        return is_process_suspended(self.pid)


def this_process() -> Process:
    pid = os.getpid()
    return Process(pid, *_system(), began=_state_and_begin(pid)[1])


def is_process_alive(pid: int, began: str = "") -> bool:
    """Returns True if a process of this number runs. A zombie does not.

    `began` is as this_process reports it. Another process of the same number does not count.
    """
    state, now = _state_and_begin(pid)
    if state:
        return state not in ("Z", "X") and began in ("", now)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_process_suspended(pid: int) -> bool:
    """Returns True if the process was stopped, by SIGSTOP or a debugger."""
    return _state_and_begin(pid)[0] in ("T", "t")


def _system() -> tuple[str, str, str]:
    return socket.gethostname(), *_boot_and_namespace()


@cache
def _boot_and_namespace() -> tuple[str, str]:
    boot = namespace = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    return boot, namespace


def _state_and_begin(pid: int) -> tuple[str, str]:
    """Returns state and start from /proc/PID/stat.

    Its second field, a name in brackets, may contain anything.
    """
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return fields[0].decode(), fields[19].decode()
    return "", ""


@contextmanager
def without_collection() -> Iterator[None]:
    """Disables the collector inside; afterwards it is on or off as before.

    It takes a quarter of the time of an import of torch, and a tenth of a report's.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
