"""Checks before each write that this process still holds the lock of a folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.system.errors import LeaseLost
from harness.system.json_schema import parse_json
from harness.system.processes import Process, this_process

LOCK = ".lock"  # in the locked folder
HOLDER = "holder.json"  # in the lock


@dataclass(frozen=True)
class Holder:
    """Names the holder of a lock. `token` is unique to one acquisition."""

    process: Process
    token: str

    def __str__(self) -> str:
        return f"process {self.process.pid} on {self.process.host}"

    @property
    def json(self) -> dict[str, Any]:
        return {**asdict(self.process), "token": self.token}


@dataclass(frozen=True)
class Lease:
    """Represents this process's hold on a folder while its lock says so.

    A process that was suspended cannot know that another one has taken over the folder, nor that
    the lock was removed.
    """

    folder: Path  # absolute
    token: str

    @property
    def is_held(self) -> bool:
        """Returns False if the lock is lost. True where the file system does not answer."""
        return not self._loss()

    def check(self) -> None:
        """Checks the lock before a write into the folder.

        Raises:
            LeaseLost: Another process has taken over the folder, or the lock is gone.
        """
        if why := self._loss():
            raise LeaseLost(
                f"{self.folder} is not locked by this process any more: its lock {why}; nothing "
                "more is written there. Run the same command again when no other process uses it"
            )

    def _loss(self) -> str:
        lock = self.folder / LOCK
        try:
            holder = _parsed((lock / HOLDER).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return "was removed"
        except OSError:
            return ""
        if holder is None:
            return "was changed"
        return "" if holder.token == self.token else f"was taken over by {holder}"


# Leases of this process.
_checked: list[Lease] = []


@contextmanager
def guard_writes(lease: Lease) -> Iterator[None]:
    """Checks every write below the lease's folder inside the context."""
    _checked.append(lease)
    try:
        yield
    finally:
        _checked.remove(lease)


def check_leases(path: Path) -> None:
    """Checks the leases before a write to the path. All writers of files call this.

    Raises:
        LeaseLost: The path lies in a folder that this process locked and has lost.
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
    """Returns the holder of a lock, or None if the lock names none."""
    with suppress(OSError):
        return _parsed((lock / HOLDER).read_bytes())
    return None


def _parsed(content: bytes) -> Holder | None:
    with suppress(ValueError, TypeError, AttributeError, KeyError):
        fields = parse_json(content)
        token = fields.pop("token")
        process = Process(**fields)
        texts = (token, process.host, process.boot, process.namespace, process.began)
        if type(process.pid) is int and 0 < process.pid < 2**31 and all(map(_is_text, texts)):
            return Holder(process, token)
    return None


def _is_text(value: object) -> bool:
    return isinstance(value, str)
