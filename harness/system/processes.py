"""Which process it is that left something on disk, and whether it can still be at work."""

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process, and where its number means something.

    host, boot, namespace: the machine by name, its start, and the numbering of processes on it;
    containers of one machine may share its name. began: clock ticks after the boot, which tell the
    process from a later one of the same number. Empty where the system does not say.
    """

    pid: int
    host: str
    boot: str = ""
    namespace: str = ""
    began: str = ""

    @property
    def is_local(self) -> bool:
        """Whether this process could see it, so that not to see it means that it is gone."""
        return (self.host, self.boot, self.namespace) == _here()

    @property
    def is_alive(self) -> bool:
        return is_process_alive(self.pid, self.began)

    @property
    def is_suspended(self) -> bool:
        return _state_and_begin(self.pid)[0] in ("T", "t")


def this_process() -> Process:
    pid = os.getpid()
    return Process(pid, *_here(), began=_state_and_begin(pid)[1])


def is_process_alive(pid: int, began: str = "") -> bool:
    """Whether there is a process of this number, which has not ended: a zombie has.

    began: as this_process says it; another process of the same number does not count.
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


def _here() -> tuple[str, str, str]:
    return socket.gethostname(), *_boot_and_namespace()


@cache
def _boot_and_namespace() -> tuple[str, str]:
    boot = namespace = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    return boot, namespace


def _state_and_begin(pid: int) -> tuple[str, str]:
    """Of /proc/PID/stat, whose second field, a name in brackets, may hold anything."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return fields[0].decode(), fields[19].decode()
    return "", ""
