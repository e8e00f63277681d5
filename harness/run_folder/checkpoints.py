"""Saves and loads checkpoints: numbered files, each whole or absent, each with its checksum."""

import hashlib
import io
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Annotated, Any

import torch

from harness.system.atomic_files import CannotWrite, write_atomic
from harness.system.deletion import (
    CHECKPOINT_MAGIC,
    HALF_WRITTEN,
    Mark,
    delete,
    delete_file,
    owned_files,
)
from harness.system.leases import check_leases
from harness.vocabulary.checks import check_declared

State = dict[str, Any]  # tensors, numbers, texts, and lists and dicts of them

SHA256_HEX = 64
# Kinds of checkpoints: between two trainings, where any number of ranks may resume; inside one.
STAGE, STEP = ".stage", ".step"
# Files of a run that this process has locked; there even a damaged file is the run's own.
NUMBERED = Mark(r"\d{6}-.*\.(stage|step)")


@dataclass(frozen=True)
class Policy:
    """Says when a run saves checkpoints, besides after every epoch and every stage.

    every_steps: also after this many optimizer steps of an epoch, or null.
    keep: newest checkpoints of each kind that stay on disk. Older ones are used if the newest is
    damaged.

    Raises:
        ValueError: a value is out of range.
    """

    every_steps: Annotated[int, "a whole number >= 1"] | None = None
    keep: Annotated[int, "a whole number >= 1"] = 2

    def __post_init__(self) -> None:
        check_declared(self)


@dataclass(frozen=True)
class Checkpoints:
    """Saves and loads the checkpoints of one run or of one dense training.

    folder: holds checkpoints alone. If it is a link, nothing is read, written or deleted there.
    """

    folder: Path
    keep: int = 2

    def save(self, name: str, kind: str, state: State) -> None:
        """Writes NUMBER-name.kind, then deletes all but the `keep` newest of its kind.

        Raises:
            CannotWrite: the disk is full or gone, or the folder is a link. Older checkpoints stay.
            ValueError: the state holds a value that cannot be loaded again.
        """
        if self.folder.is_symlink():
            raise CannotWrite(
                f"checkpoint {name}: {self.folder} is a link, and checkpoints are kept in a folder "
                "of their own; delete the link, or choose another place with output_dir=PATH"
            )
        present = self._files()
        content = packed(state)
        if not any(file.suffix == kind for file in present):
            _check_loads(content)
        number = _number(present[-1]) + 1 if present else 1
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self.folder / f"{number:06d}-{name}{kind}", content)
        except (OSError, CannotWrite) as error:
            kept = f"{present[-1].name} is whole" if present else "there is none before it"
            raise CannotWrite(f"checkpoint {name}: {error} ({kept})") from error
        for file in [file for file in self._files() if file.suffix == kind][: -self.keep]:
            delete_file(self.folder.parent, file, [NUMBERED])
        for half in owned_files(self.folder.parent, self.folder, [HALF_WRITTEN]):  # left by a kill
            delete_file(self.folder.parent, self.folder / half.name, [HALF_WRITTEN])

    def newest(self, fits: Callable[[str, State], str]) -> State | None:
        """Returns the newest state that is undamaged and fits, or None.

        fits(kind, state): returns why the state cannot be used, or "". Skipped checkpoints are
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
            print(f"warning: checkpoint {file} {why}; {then}", file=sys.stderr)
        return None

    def clear(self) -> None:
        """Deletes all checkpoints and half-written files; other files stay.

        Raises:
            LeaseLost: this process has lost the folder.
        """
        check_leases(self.folder)
        with suppress(OSError):
            delete(self.folder.parent, self.folder, [NUMBERED, HALF_WRITTEN])

    def _files(self) -> list[Path]:
        files = owned_files(self.folder.parent, self.folder, [NUMBERED])
        return sorted(self.folder / file.name for file in files)


def packed(state: State) -> bytes:
    """Returns the content of a checkpoint file: mark, checksum and state."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    return CHECKPOINT_MAGIC + hashlib.sha256(content).hexdigest().encode() + content


def unpacked(content: bytes) -> State:
    """Returns the state in a checkpoint file's content.

    Raises:
        ValueError: the content is damaged, or of another version.
    """
    start = len(CHECKPOINT_MAGIC) + SHA256_HEX
    if content[: len(CHECKPOINT_MAGIC)] != CHECKPOINT_MAGIC or len(content) < start:
        raise ValueError("it does not begin as a checkpoint of this version")
    written, payload = content[len(CHECKPOINT_MAGIC) : start], content[start:]
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
