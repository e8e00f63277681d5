"""Digests of files by their contents, kept for as long as the files stay the same."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from harness.files import CannotWrite, write_whole
from harness.redaction import redacted, restored

Entry = tuple[str, int, int, str]  # name below the root, bytes, time of change in ns, SHA-256
MANY, LARGE = 10_000, 2**28  # files, bytes, from which on a bar is shown


@dataclass(frozen=True)
class Manifest:
    """What data were read from when they had this digest.

    code: digest of what read them. root: of the names, as redacted. folders: name below the root to
    time of change in ns, so that a new file is noticed. Nothing on disk: both are empty.
    """

    sha256: str
    code: str
    root: str = ""
    folders: Mapping[str, int] = field(default_factory=dict)
    files: Sequence[Entry] = ()

    @classmethod
    def of(
        cls, root: Path, files: Iterable[Path], code: str, before: "Manifest | None", shows: bool
    ) -> "Manifest":
        """Hashes the files; those that stand as they did before keep their digest.

        Raises:
            ValueError: a file is missing or cannot be read.
        """
        known = {entry[:3]: entry[3] for entry in before.files} if before else {}
        names = sorted({os.path.relpath(file, root) for file in files})
        homes = sorted({".", *(above for name in names for above in _above(name))})
        try:
            # Before the files are read: what is added meanwhile is noticed later.
            folders = {home: os.stat(root / home).st_mtime_ns for home in homes}
            entries = list(_entries(root, names, known, shows))
        except OSError as error:
            raise ValueError(
                f"cannot read {error.filename} ({error.strerror}) of the data"
            ) from error
        lines = (f"{json.dumps(name)} {size} {sha}\n" for name, size, _, sha in entries)
        digest = hashlib.sha256("".join(lines).encode()).hexdigest()
        return cls(digest, code, redacted(str(root)), folders, entries)

    @property
    def holds(self) -> bool:
        """Whether all files and folders are as they were, by size and time of change."""
        root = restored(self.root)
        try:
            for name, time in self.folders.items():
                if os.stat(os.path.join(root, name)).st_mtime_ns != time:
                    return False
            for name, size, time, _ in self.files:
                found = os.stat(os.path.join(root, name))
                if (found.st_size, found.st_mtime_ns) != (size, time):
                    return False
        except OSError:
            return False
        return True

    def write(self, file: Path) -> None:
        """Where that is impossible the data are read again another time."""
        with suppress(CannotWrite, OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, json.dumps(asdict(self)) + "\n")

    @classmethod
    def read(cls, file: Path) -> "Manifest | None":
        """None if there is none that can be read."""
        try:
            found = json.loads(file.read_text())
            return cls(**{**found, "files": [tuple(entry) for entry in found["files"]]})
        except (OSError, ValueError, TypeError, KeyError):
            return None


def _entries(
    root: Path, names: Sequence[str], known: Mapping[tuple[str, int, int], str], shows: bool
) -> Iterator[Entry]:
    sizes = [os.stat(root / name) for name in names]
    states = [(name, at.st_size, at.st_mtime_ns) for name, at in zip(names, sizes, strict=True)]
    new = [state for state in states if state not in known]
    with _bar(new, shows) as advance:
        for state in states:
            if state not in known:
                with (root / state[0]).open("rb") as file:
                    yield *state, hashlib.file_digest(file, "sha256").hexdigest()
                advance(state[1])
            else:
                yield *state, known[state]


@contextmanager
def _bar(new: Sequence[tuple[str, int, int]], shows: bool) -> Iterator[Callable[[int], None]]:
    total = sum(size for _, size, _ in new)
    if not shows or (len(new) < MANY and total < LARGE):
        yield lambda size: None
        return
    console = Console(stderr=True)
    console.print(f"data: {len(new):,} files, {total / 1e9:.1f} GB, are read once for their digest")
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("digest of the data", total=total)
        yield lambda size: progress.advance(task, size)


def _above(name: str) -> Iterator[str]:
    """
    >>> list(_above("a/b/c.png"))
    ['a', 'a/b']
    """
    parts = name.split(os.sep)[:-1]
    return (os.sep.join(parts[:count]) for count in range(1, len(parts) + 1))
