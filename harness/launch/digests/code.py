"""Computes the digest of the code that a run imports, own parts included."""

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from harness.launch.digests.imported_modules import closure, file_of, module_of
from harness.launch.digests.imports import is_ours
from harness.launch.trust.targets import called
from harness.system.loaded_sources import mark_digested, source_of

# The imports of a run are followed from these modules and from its parts.
ROOTS = ("harness.launch.execute", "harness.launch.instantiate")
# Modules and packages that a run imports and on which no number depends, with the reason.
EXCEPT = {
    "harness.__main__": "reads the command line; what it says is in the config",
    "harness.cli": "reads the command line; what it says is in the config",
    "harness.launch": "composes and starts runs; what it decides is in the config",
    "harness.system.command_line": "how commands print",
    "harness.system.git": "reads the commit from git",
    "harness.system.hardware": "says what a run ran on",
    "harness.system.manifest": "names a run by its data; what the run reads is read by others",
    "harness.data.shared.digest": "names a run by its data; what the run reads is read by others",
    "harness.system.loaded_sources": "says which code was loaded; that itself is in the digest",
    "harness.system.names": "says which names may become paths",
    "harness.system.redaction": "hides values in messages",
    "harness.run_folder.console": "draws on the terminal",
    "harness.run_folder.progress_file": "says how far a run has come",
    "harness.run_folder.overview": "reads how far runs have come",
    "harness.tracking": "sends on what has been recorded",
    "harness.report": "reads what has been recorded",
}  # fmt: skip

FileTimes = list[tuple[int, int] | None]
# (targets, roots, search path) -> times of the files, the files, and their digest.
_cache: dict[tuple[object, ...], tuple[FileTimes, tuple[Path, ...], str]] = {}


def code_of(parts: dict[str, Any]) -> str:
    """Returns SHA-256 (16 hex digits) over the sources that a run with these parts imports.

    Sources count as this process has loaded them. Modules that are imported by a computed name
    are in the records of harness/system/loaded_sources.py instead.

    parts: nodes with `_target_`, at any depth. The library of a target counts by its version and
    files. Libraries that a part imports do not count: the numerics key names torch.
    """
    return _code_of(frozenset(_targets(parts)), ROOTS)


def code_of_part(node: Mapping[str, Any]) -> str:
    """Returns the digest of a part alone: of its modules and of all that they import."""
    return _code_of(frozenset(_targets(node)), ())


def _code_of(targets: frozenset[str], roots: tuple[str, ...]) -> str:
    key = targets, roots, tuple(sys.path)
    known = _cache.get(key)
    if known is None or known[0] != _file_times(known[1]):
        sources = _sources(targets, roots)
        files = tuple(sources.values())
        mark_digested(files)
        known = _cache[key] = _file_times(files), files, _digest(sources, targets)
    return known[2]


def own_files(parts: dict[str, Any]) -> list[Path]:
    """Returns the files of parts, and of modules that they import, outside the harness."""
    sources = _sources(frozenset(_targets(parts)), ROOTS)
    return sorted(file for name, file in sources.items() if not is_ours(name))


def _sources(targets: frozenset[str], roots: tuple[str, ...]) -> dict[str, Path]:
    modules = {module_of(target) for target in targets} - {""}
    return closure([*roots, *modules], _is_excepted, source_of)


def _file_times(files: Iterable[Path]) -> FileTimes:
    """Returns the time of change (ns) and size of each file; None for a missing one."""
    times: FileTimes = []
    for file in files:
        try:
            stat = os.stat(file)
        except FileNotFoundError:
            times.append(None)
            continue
        times.append((stat.st_mtime_ns, stat.st_size))
    return times


def _digest(sources: Mapping[str, Path], targets: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for name, file in sorted(sources.items()):
        content = source_of(name, file)
        digest.update(f"{name} {len(content)}\n".encode() + content)
    for version in sorted({_version(target.partition(".")[0]) for target in targets}):
        digest.update(version)
    return digest.hexdigest()[:16]


def _is_excepted(name: str) -> bool:
    if name in ROOTS or name == "harness.launch":
        return False
    return any(name == excepted or name.startswith(f"{excepted}.") for excepted in EXCEPT)


def _targets(value: Any) -> Iterator[str]:
    """Yields the dotted names of all targets, and the paths of hydra.utils.get_class and others."""
    if isinstance(value, list):
        for inner in value:
            yield from _targets(inner)
    if isinstance(value, dict):
        target = value.get("_target_")
        if isinstance(target, str):
            yield target
            if named := called(value):
                yield named[1]
            if target.startswith("hydra.utils.") and isinstance(value.get("path"), str):
                yield value["path"]
        for inner in value.values():
            yield from _targets(inner)


def _version(package: str) -> bytes:
    """Returns the list of an installed library's files with their checksums."""
    if file_of(package):
        return b""
    try:
        record = distribution(package).read_text("RECORD") or ""
        return "\n".join(line for line in record.splitlines() if ".py,sha256=" in line).encode()
    except PackageNotFoundError:
        return b""
