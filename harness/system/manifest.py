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

from harness.system.atomic_files import CannotWrite, write_atomic
from harness.system.redaction import redact, restore

# How a file stands, links followed: bytes, times of change of its content and of its facts in ns,
# inode. The last two tell a link that leads elsewhere, and a time that was set back.
State = tuple[int, int, int, int]
Entry = tuple[str, State, str]  # name below the root, SHA-256
MANY, LARGE = 10_000, 2**28  # files, bytes, from which on a bar is shown


@dataclass(frozen=True)
class Manifest:
    """What data were read from when they had this digest.

    code: digest of what read them. root: of the names, without links, as redacted. folders: name
    below the root to time of change in ns, of all in which a file of theirs may appear; empty if
    nobody knows these. Nothing on disk: both are empty. unnamed: as of harness/system/
    loaded_sources.py.
    """

    sha256: str
    code: str
    root: str = ""
    folders: Mapping[str, int] = field(default_factory=dict)
    files: Sequence[Entry] = ()
    unnamed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        root: str,
        names: Sequence[str],
        code: str,
        watched: Mapping[str, int],
        before: "Manifest | None",
        shows: bool,
    ) -> "Manifest":
        """Hashes the files; those that stand as they did before keep their digest.

        watched: as of `folders_of`, found before the files are read, so that what is added
        meanwhile is noticed later; left out where a file lies in none of them.

        Raises:
            ValueError: a file is missing or cannot be read.
        """
        is_same = before is not None and restore(before.root) == root
        known = {entry[:2]: entry[2] for entry in before.files} if before and is_same else {}
        try:
            entries = list(_entries(root, names, known, shows))
        except OSError as error:
            raise ValueError(
                f"cannot read {error.filename} ({error.strerror}) of the data"
            ) from error
        homes = {os.path.realpath(os.path.join(root, os.path.dirname(name))) for name in names}
        told = watched if homes <= watched.keys() else {}
        folders = {os.path.relpath(folder, root): time for folder, time in told.items()}
        lines = (f"{json.dumps(name)} {state[0]} {sha}\n" for name, state, sha in entries)
        digest = hashlib.sha256("".join(lines).encode()).hexdigest()
        return cls(digest, code, redact(root), folders, entries)

    @property
    def is_complete(self) -> bool:
        """Whether a file more or less would be noticed, too."""
        return bool(self.folders) or not self.files

    @property
    def is_current(self) -> bool:
        """Whether all files are as they were by their states, and folders by their times."""
        root = restore(self.root)
        try:
            for name, time in self.folders.items():
                if os.stat(os.path.join(root, name)).st_ctime_ns != time:
                    return False
            for name, state, _ in self.files:
                if _state(os.path.join(root, name)) != state:
                    return False
        except OSError:
            return False
        return True

    def has_files(self, root: str, names: Sequence[str]) -> bool:
        return restore(self.root) == root and [entry[0] for entry in self.files] == [*names]

    def write(self, file: Path) -> None:
        """Where that is impossible the data are read again another time."""
        with suppress(CannotWrite, OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(file, json.dumps(asdict(self)) + "\n")

    @classmethod
    def read(cls, file: Path) -> "Manifest | None":
        """None if there is none that can be read."""
        try:
            found = json.loads(file.read_text())
            files = [(name, tuple(state), sha) for name, state, sha in found["files"]]
            return cls(**{**found, "files": files})
        except (OSError, ValueError, TypeError, KeyError):
            return None


def names_below(root: Path, files: Iterable[Path]) -> list[str]:
    """As a set that lists its files below the root writes them, sorted; the names of other files
    are those from where the root lies to where they do, links resolved."""
    homes: dict[str, str] = {}
    found = set()
    for file in files:
        home, name = os.path.split(file.absolute())
        if home not in homes:
            homes[home] = _below(root.absolute(), Path(home))
        found.add(os.path.normpath(os.path.join(homes[home], name)))
    return sorted(found)


def _below(root: Path, home: Path) -> str:
    if home.is_relative_to(root) and ".." not in home.relative_to(root).parts:
        return str(home.relative_to(root))
    return os.path.relpath(os.path.realpath(home), os.path.realpath(root))


def folders_of(places: Iterable[str], apart: str) -> dict[str, int]:
    """Times of change in ns of the places and of all folders below them, without those in `apart`:
    those of their facts, which nobody can set back.

    Of a place that is a file: of its folder. All are paths without links; links are followed.
    """
    left = [place for place in places if os.path.isdir(place)]
    found = {home: os.stat(home).st_ctime_ns for home in map(os.path.dirname, {*places} - {*left})}
    seen = {apart}
    while left:
        folder = left.pop()
        if folder in seen:
            continue
        seen.add(folder)
        with suppress(OSError):  # no longer there, or not to be read by a data set either
            found[folder] = os.stat(folder).st_ctime_ns
            with os.scandir(folder) as entries:
                inner = [(each.is_symlink(), each.path) for each in entries if each.is_dir()]
            left += [os.path.realpath(path) if is_link else path for is_link, path in inner]
    return found


def _state(path: str) -> State:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _entries(
    root: str, names: Sequence[str], known: Mapping[tuple[str, State], str], shows: bool
) -> Iterator[Entry]:
    states = [(name, _state(os.path.join(root, name))) for name in names]
    new = [each for each in states if each not in known]
    with _bar(new, shows) as advance:
        for name, state in states:
            if (name, state) not in known:
                with open(os.path.join(root, name), "rb") as file:
                    yield name, state, hashlib.file_digest(file, "sha256").hexdigest()
                advance(state[0])
            else:
                yield name, state, known[name, state]


@contextmanager
def _bar(new: Sequence[tuple[str, State]], shows: bool) -> Iterator[Callable[[int], None]]:
    total = sum(state[0] for _, state in new)
    if not shows or (len(new) < MANY and total < LARGE):
        yield lambda size: None
        return
    console = Console(stderr=True)
    console.print(f"data: {len(new):,} files, {total / 1e9:.1f} GB, are read once for their digest")
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("digest of the data", total=total)
        yield lambda size: progress.advance(task, size)
