"""Deletes only files with a mark of the harness, only inside the named folder, through no link.

The folder that a user names (--out, output_dir=PATH) may itself be a link. Below it every step is
opened with O_NOFOLLOW, from descriptor to descriptor, so a folder that is exchanged for a link
meanwhile leads nowhere. A link is never ours: it stays, and so does its target. For the same reason
a run and a report write through no link: see check_no_link.
"""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

BEGINNING = 64  # bytes
ELSEWHERE = "choose another place with output_dir=PATH"
# Errors of `open_folder`: with O_NOFOLLOW, Linux reports a link as no folder.
NOT_THERE = (FileNotFoundError, NotADirectoryError)
# Suffix of temporary_name in harness/system/atomic_files.py.
SUFFIX = ".harness-part"


@dataclass(frozen=True)
class Mark:
    """Identifies a file of the harness by its whole name and its first bytes."""

    name: str  # regular expressions
    begins: bytes = b""

    def is_on(self, name: str, beginning: bytes) -> bool:
        named = re.fullmatch(self.name, name)
        return bool(named and re.match(self.begins, beginning, re.DOTALL))


CHECKPOINT_MAGIC = b"pruning-harness checkpoint 1\n"
HALF_WRITTEN = Mark(r"\..+\.[0-9a-f]{8}" + re.escape(SUFFIX))
CHECKPOINT = Mark(r"\d{6}-.*\.(stage|step)", CHECKPOINT_MAGIC)
STAGE = Mark(r"state\.stage", CHECKPOINT_MAGIC)
# A safetensors file has its metadata after eight bytes with the length of its header.
DENSE = Mark(r"epoch-\d{5}(-step-\d{6})?\.safetensors", rb'.{8}\{"__metadata__":\{"sha256, note"')


@dataclass(frozen=True)
class OwnedFile:
    name: str
    size: int  # bytes
    changed: float  # unix seconds


@contextmanager
def open_folder(root: Path, folder: Path) -> Iterator[int]:
    """Opens a folder inside root, or root itself, and yields its descriptor.

    Raises:
        OSError: A step below root is a link, no folder, or gone.
        ValueError: The folder does not lie in root.
    """
    steps = folder.relative_to(root).parts
    if ".." in steps:
        raise ValueError(f"{folder} leads out of {root}; nothing outside is deleted")
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for step in steps:
            below = os.open(step, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        yield at
    finally:
        os.close(at)


def owned_files(root: Path, folder: Path, marks: Sequence[Mark]) -> list[OwnedFile]:
    """Returns the files directly in the folder that carry one of the marks, none behind a link."""
    with suppress(OSError), open_folder(root, folder) as at:
        files = (_owned(at, name, marks) for name in sorted(os.listdir(at)))
        return [file for file in files if file]
    return []


def delete(root: Path, folder: Path, marks: Sequence[Mark]) -> None:
    """Deletes the marked files, and the folder (not root) if it is empty then.

    Raises:
        OSError: The system refuses it.
    """
    with suppress(*NOT_THERE):
        with open_folder(root, folder) as at:
            for name in os.listdir(at):
                if _owned(at, name, marks):
                    _unlink(at, name)
        delete_empty(root, folder)


def delete_file(root: Path, file: Path, marks: Sequence[Mark]) -> None:
    """Deletes one file if it carries one of the marks."""
    with suppress(OSError), open_folder(root, file.parent) as at:
        if _owned(at, file.name, marks):
            _unlink(at, file.name)


def delete_empty(root: Path, folder: Path) -> None:
    """Deletes the folder if it is empty. Root stays."""
    if folder != root:
        with suppress(OSError), open_folder(root, folder.parent) as at:
            os.rmdir(folder.name, dir_fd=at)


def is_real_folder(path: Path) -> bool:
    """Returns True if the path itself is a folder, not a link."""
    with suppress(OSError):
        return stat.S_ISDIR(os.lstat(path).st_mode)
    return False


def check_no_link(folder: Path, remedy: str) -> None:
    """Raises ValueError if the folder is a link.

    Raises:
        ValueError: The folder is a link, so that files of another owner would be replaced.
    """
    if folder.is_symlink():
        raise ValueError(
            f"{folder} is a link, and what is written here has a folder of its own; delete the "
            f"link, or {remedy}"
        )


def _owned(at: int, name: str, marks: Sequence[Mark]) -> OwnedFile | None:
    likely = [mark for mark in marks if re.fullmatch(mark.name, name)]
    if not likely:
        return None
    try:
        # O_NONBLOCK: a pipe of such a name must not stop us.
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
    except OSError:
        return None
    try:
        facts = os.fstat(file)
        is_file = stat.S_ISREG(facts.st_mode)
        beginning = os.read(file, BEGINNING) if is_file else b""
    finally:
        os.close(file)
    if not is_file or not any(mark.is_on(name, beginning) for mark in likely):
        return None
    return OwnedFile(name, facts.st_size, facts.st_mtime)


def _unlink(at: int, name: str) -> None:
    with suppress(FileNotFoundError):  # a running process may delete its own file
        os.unlink(name, dir_fd=at)
