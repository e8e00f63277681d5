"""Checkpoints: numbered files in a folder, each whole or absent, each with its checksum."""

import hashlib
import io
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from harness.files import CannotWrite, write_whole

State = dict[str, Any]  # tensors, numbers, texts, and lists and dicts of them

MAGIC = b"pruning-harness checkpoint 1\n"
SHA256_HEX = 64
# Between two trainings, where any number of ranks may go on; inside one.
STAGE, STEP = ".stage", ".step"


@dataclass(frozen=True)
class Policy:
    """When a run saves itself; it does so after every epoch and every stage in any case.

    every_steps: also after so many optimizer steps of an epoch, or null.
    keep: newest checkpoints of each kind that stay on disk; the older ones serve if the newest
    is damaged.

    Raises:
        ValueError: a value is out of range.
    """

    every_steps: int | None = None
    keep: int = 2

    def __post_init__(self) -> None:
        if self.every_steps is not None and not _counts(self.every_steps):
            raise ValueError(
                f"every_steps must be a whole number >= 1 or null, got {self.every_steps!r}"
            )
        if not _counts(self.keep):
            raise ValueError(f"keep must be a whole number >= 1, got {self.keep!r}")


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run or of one dense training."""

    folder: Path
    keep: int = 2

    def save(self, name: str, kind: str, state: State) -> None:
        """Writes NUMBER-name.kind, then removes what is older than the `keep` newest of its kind.

        Raises:
            CannotWrite: the disk is full or gone; older checkpoints are as they were.
            ValueError: the state holds what could not be loaded again.
        """
        there = self._files()
        content = packed(state)
        if not any(file.suffix == kind for file in there):
            _check_loads(content)
        number = _number(there[-1]) + 1 if there else 1
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / f"{number:06d}-{name}{kind}", content)
        except (OSError, CannotWrite) as error:
            kept = f"{there[-1].name} is whole" if there else "there is none before it"
            raise CannotWrite(f"checkpoint {name}: {error} ({kept})") from error
        old = [file for file in self._files() if file.suffix == kind][: -self.keep]
        # A kill leaves half of one behind, under a hidden name.
        for file in [*old, *self.folder.glob(".*")]:
            with suppress(OSError):
                file.unlink()

    def newest(self, fits: Callable[[str, State], str]) -> State | None:
        """The newest state that is undamaged and fits, or None.

        fits(kind, state): why the state cannot be used here, or "". What is passed over is
        named on stderr.
        """
        files = self._files()
        for file in reversed(files):
            try:
                state = unpacked(file.read_bytes())
                why = fits(file.suffix, state)
            except (ValueError, OSError, KeyError) as error:
                why = f"is damaged: {error}"
            if not why:
                return state
            then = "starting over" if file == files[0] else "trying the one before"
            print(f"checkpoint {file} {why}; {then}", file=sys.stderr)
        return None

    def clear(self) -> None:
        """Removes all of them, and what a kill left of one."""
        if self.folder.is_dir():
            with suppress(OSError):
                for file in self.folder.iterdir():
                    file.unlink(missing_ok=True)
                self.folder.rmdir()

    def _files(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        found = [f for f in self.folder.iterdir() if f.suffix in (STAGE, STEP)]
        return sorted(file for file in found if file.name[:6].isdecimal())


def packed(state: State) -> bytes:
    """A file's content, with its checksum."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    return MAGIC + hashlib.sha256(content).hexdigest().encode() + content


def unpacked(content: bytes) -> State:
    """
    Raises:
        ValueError: the content is damaged, or of another version.
    """
    start = len(MAGIC) + SHA256_HEX
    if content[: len(MAGIC)] != MAGIC or len(content) < start:
        raise ValueError("it does not begin as a checkpoint of this version")
    written, payload = content[len(MAGIC) : start], content[start:]
    if hashlib.sha256(payload).hexdigest().encode() != written:
        raise ValueError("its SHA-256 differs, it is cut off or altered")
    # Tensors and plain values only: a checkpoint cannot run code.
    try:
        state: State = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError("it holds more than tensors and plain values") from error
    return state


def _check_loads(content: bytes) -> None:
    try:
        unpacked(content)
    except ValueError as error:
        raise ValueError(
            f"a checkpoint of this training could not be loaded again: {error}; keep tensors, "
            "numbers and texts in the optimizer's state and options, no objects"
        ) from error


def _number(file: Path) -> int:
    return int(file.name[:6])


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
