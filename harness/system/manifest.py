"""Computes digests of files, and keeps them while the files stay the same."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness.system.atomic_files import CannotWrite, write_atomic
from harness.system.json_schema import parse_json
from harness.system.redaction import redact, restore

# State of a file, links followed: bytes, times of change of its content and of its inode in ns,
# inode. The last two reveal another target of a link, and a time that was set back.
State = tuple[int, int, int, int]
Entry = tuple[str, State, str]  # name below the root, SHA-256
MANY, LARGE = 10_000, 2**28  # files, bytes, from which a progress bar is shown


@dataclass(frozen=True)
class Manifest:
    """Holds the files and the digest of one data set.

    Args:
        sha256: Digest of the data.
        code: Digest of the code that read them.
        root: Folder of the names, without links, redacted.
        folders: Name below the root to time of change in ns, for all folders in which a file may
            appear.
            Empty if unknown. Without any file both are empty.
        files: Name, state and SHA-256 of each file.
        unnamed: Sources of harness/system/loaded_sources.py.
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
        """Hashes the files. Unchanged files keep their digest.

        Args:
            root: Folder of the names.
            names: Names of the files below the root.
            code: Digest of the code that reads them.
            watched: Result of `folders_of` before the files are read, so that files added meanwhile
                are noticed later. Not stored if a file lies in none of the folders.
            before: Manifest of an earlier reading.
            shows: True shows a progress bar for many or large files.

        Raises:
            ValueError: A file is missing or cannot be read.
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
        folder_times = watched if homes <= watched.keys() else {}
        folders = {os.path.relpath(folder, root): time for folder, time in folder_times.items()}
        lines = (f"{json.dumps(name)} {state[0]} {sha}\n" for name, state, sha in entries)
        digest = hashlib.sha256("".join(lines).encode()).hexdigest()
        return cls(digest, code, redact(root), folders, entries)

    @property
    def is_complete(self) -> bool:
        """Returns True if added or removed files would be noticed."""
        return bool(self.folders) or not self.files

    @property
    def is_current(self) -> bool:
        """Returns True if all files have their states and all folders their times."""
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
        """Writes the manifest. If that fails the data are read again another time."""
        with suppress(CannotWrite, OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(file, json.dumps(asdict(self)) + "\n")

    @classmethod
    def read(cls, file: Path) -> "Manifest | None":
        """Returns the manifest, or None if there is none that can be read."""
        try:
            content = parse_json(file.read_text())
            files = [(name, tuple(state), sha) for name, state, sha in content["files"]]
            return cls(**{**content, "files": files})
        except (OSError, ValueError, TypeError, KeyError):
            return None


def names_below(root: Path, files: Iterable[Path]) -> list[str]:
    """Returns sorted names of the files below the root, as the data set writes them.

    Names of other files are their paths relative to the root, links resolved.
    """
    homes: dict[str, str] = {}
    names = set()
    for file in files:
        home, name = os.path.split(file.absolute())
        if home not in homes:
            homes[home] = _below(root.absolute(), Path(home))
        names.add(os.path.normpath(os.path.join(homes[home], name)))
    return sorted(names)


def _below(root: Path, home: Path) -> str:
    if home.is_relative_to(root) and ".." not in home.relative_to(root).parts:
        return str(home.relative_to(root))
    return os.path.relpath(os.path.realpath(home), os.path.realpath(root))


def folders_of(paths: Iterable[str], apart: str) -> dict[str, int]:
    """Returns times of change in ns of the places and of all folders below them, without `apart`.

    They are times of the inodes, which cannot be set back. For a place that is a file its folder
    counts. All are paths without links; links are followed.
    """
    left = [path for path in paths if os.path.isdir(path)]
    times = {home: os.stat(home).st_ctime_ns for home in map(os.path.dirname, {*paths} - {*left})}
    seen = {apart}
    while left:
        folder = left.pop()
        if folder in seen:
            continue
        seen.add(folder)
        with suppress(OSError):  # no longer there, or not to be read by a data set either
            times[folder] = os.stat(folder).st_ctime_ns
            with os.scandir(folder) as entries:
                inner = [(entry.is_symlink(), entry.path) for entry in entries if entry.is_dir()]
            left += [os.path.realpath(path) if is_link else path for is_link, path in inner]
    return times


def _state(path: str) -> State:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _entries(
    root: str, names: Sequence[str], known: Mapping[tuple[str, State], str], shows: bool
) -> Iterator[Entry]:
    states = [(name, _state(os.path.join(root, name))) for name in names]
    new = [item for item in states if item not in known]
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
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    console.print(f"data: {len(new):,} files, {total / 1e9:.1f} GB, are read once for their digest")
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("digest of the data", total=total)
        yield lambda size: progress.advance(task, size)
