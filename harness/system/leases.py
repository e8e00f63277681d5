"""A process's hold on a folder, which it may lose: whoever writes there asks first."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.system.errors import LeaseLost
from harness.system.processes import Process, this_process

LOCK = ".lock"  # in the folder that is held
HOLDER = "holder.json"  # in the lock


@dataclass(frozen=True)
class Holder:
    """Who holds a lock. token: of this one time that it was taken."""

    process: Process
    token: str

    def __str__(self) -> str:
        return f"process {self.process.pid} on {self.process.host}"

    @property
    def json(self) -> dict[str, Any]:
        return {**asdict(self.process), "token": self.token}


@dataclass(frozen=True)
class Lease:
    """This process's hold on a folder, for as long as its lock says so.

    A process that was stopped for a while cannot know that another one has taken the folder over,
    nor that somebody has removed the lock.
    """

    folder: Path  # absolute
    token: str

    @property
    def is_held(self) -> bool:
        """Also where the file system does not answer: a write will say why."""
        return not self._loss()

    def check(self) -> None:
        """Before a write into the folder.

        Raises:
            LeaseLost: another process has taken it over, or the lock is gone.
        """
        if why := self._loss():
            raise LeaseLost(
                f"{self.folder} is not this process's any more: its lock {why}; nothing is written "
                "there from now on, and once nobody else works in it the same command goes on"
            )

    def _loss(self) -> str:
        lock = self.folder / LOCK
        try:
            found = _parsed((lock / HOLDER).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return "was removed"
        except OSError:
            return ""
        if found is None:
            return "was changed"
        return "" if found.token == self.token else f"was taken over by {found}"


# Of this process.
_checked: list[Lease] = []


@contextmanager
def guard_writes(lease: Lease) -> Iterator[None]:
    """Inside, every write below the lease's folder is checked."""
    _checked.append(lease)
    try:
        yield
    finally:
        _checked.remove(lease)


def check_leases(path: Path) -> None:
    """Before a write to the path: all that writes whole files, lines or checkpoints asks this.

    Raises:
        LeaseLost: the path lies in a folder that this process took, and has lost.
    """
    if not _checked:
        return
    above = Path(os.path.abspath(path)).parents
    for lease in tuple(_checked):
        if lease.folder in above:
            lease.check()


def make_lease(folder: Path, token: str) -> tuple[Lease, Holder]:
    return Lease(Path(os.path.abspath(folder)), token), Holder(this_process(), token)


def read_holder(lock: Path) -> Holder | None:
    """Who holds a lock; None where it does not say so."""
    with suppress(OSError):
        return _parsed((lock / HOLDER).read_bytes())
    return None


def _parsed(content: bytes) -> Holder | None:
    with suppress(ValueError, TypeError, AttributeError, KeyError):
        said = json.loads(content)
        token = said.pop("token")
        process = Process(**said)
        texts = (token, process.host, process.boot, process.namespace, process.began)
        if type(process.pid) is int and 0 < process.pid < 2**31 and all(map(_is_text, texts)):
            return Holder(process, token)
    return None


def _is_text(value: object) -> bool:
    return isinstance(value, str)
