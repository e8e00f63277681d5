"""Computes the digest of the data that a run reads, which is a part of the run's name."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

from harness.launch.digests.code import code_of_part
from harness.launch.instantiate import build_part
from harness.launch.run_spec import RunSpec
from harness.launch.trust.targets import called
from harness.launch.variables import resolved
from harness.run_folder.identity import Config
from harness.run_folder.stage_keys import is_ours
from harness.system.atomic_files import CannotWrite
from harness.system.loaded_sources import Record, is_current, undigested_sources
from harness.system.locks import locked
from harness.system.manifest import Manifest, folders_of, names_below

DigestOf = Callable[[RunSpec], str | None]

HOME = ".data"  # below the output folder
# Libraries that make the harness's own data sets in memory.
MAKERS = ("numpy", "scikit-learn", "mlxtend", "pandas", "torch")


def cached_digest(config: Config) -> str | None:
    """Returns the cached digest of a config's data, without reading them; needs no torch.

    None if the data were never read or have changed since, or if the config names no place.
    """
    manifest = Manifest.read(_manifest_file(config))
    return (
        manifest.sha256
        if manifest and _is_current(manifest, config) and manifest.is_complete
        else None
    )


def digest_of(config: Config, part: Any = None) -> str:
    """Returns the digest of a config's data, which are read if it is not cached.

    part: the data set, if it is built already. Only the part knows which files it reads.

    Raises:
        ValueError: the data cannot be read.
    """
    part = build_part({"data": config["data"]})["data"] if part is None else part
    paths = part.files() if hasattr(part, "files") else None
    files = None if paths is None else [Path(path) for path in paths]
    if files:
        return _of_files(config, files)
    # The files that an own data set reads are not known, so it is loaded each time.
    computed = files is not None and "root" not in config["data"]
    own = called(config["data"]) or not is_ours(config["data"])
    return _of_tensors(config, part, keep=computed or not own)


def with_data_digest(spec: RunSpec, part: Any = None) -> RunSpec:
    """Returns the run with the digest of its data.

    Raises:
        ValueError: the data cannot be read, or have changed since the run was planned.
    """
    sha256 = digest_of(spec.config, part)
    if spec.data_sha256 not in (None, sha256):
        raise ValueError(
            f"data={spec.choices.get('data')} has changed since this run was planned, and would "
            "be another run; repeat the command, which makes a new plan"
        )
    return replace(spec, data_sha256=sha256)


def with_data_digests(
    numbered: Iterable[tuple[int, RunSpec]], digest: DigestOf
) -> Iterator[tuple[int, RunSpec]]:
    """Yields the runs with the digests of their data; `digest` is called once per data set."""
    known: dict[str, str | None] = {}
    for number, spec in numbered:
        key = json.dumps(spec.config["data"], sort_keys=True)
        if key not in known:
            known[key] = digest(spec)
        yield number, replace(spec, data_sha256=known[key])


def digest_if_readable(spec: RunSpec) -> str | None:
    """Returns the digest of a run's data, None if they cannot be read; the run reports why."""
    try:
        return digest_of(spec.config)
    except Exception:
        return None


def digest_in_subprocess(line: str) -> str | None:
    """Calls `digest_if_readable` for this run in a subprocess, because it imports torch."""
    command = [sys.executable, "-m", "harness.launch.digests.data"]
    done = subprocess.run(command, input=line, stdout=subprocess.PIPE, text=True)
    return done.stdout.split()[-1] if done.returncode == 0 else None


def _of_files(config: Config, paths: list[Path]) -> str:
    root = _root_of(config, paths)
    names, folder = names_below(root, paths), os.path.realpath(root)
    file, shows = _manifest_file(config), resolved(config.get("progress")) != "none"

    def kept() -> Manifest | None:
        manifest = Manifest.read(file)
        is_current = (
            manifest and manifest.has_files(folder, names) and _is_current(manifest, config)
        )
        return manifest if is_current else None

    if manifest := kept():
        return manifest.sha256
    with ExitStack() as stack:
        with suppress(
            OSError, CannotWrite
        ):  # where nothing can be written, each process reads the data itself
            file.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(file.parent))
        if manifest := kept():  # written by another process that held the lock
            return manifest.sha256
        watched = folders_of(_data_paths(config), os.path.realpath(_output_dir(config)))
        before = Manifest.read(file)
        manifest = Manifest.of(folder, names, _reader_digest(config), watched, before, shows)
        replace(manifest, unnamed=_unnamed(config)).write(file)
    return manifest.sha256


def _of_tensors(config: Config, part: Any, keep: bool) -> str:
    from harness.data.shared.digest import digest

    manifest = Manifest.read(_manifest_file(config)) if keep else None
    if manifest and not manifest.files and _is_current(manifest, config):
        return manifest.sha256
    read = digest(part.load())
    # Only a run that can execute makes the output folder.
    if keep and _output_dir(config).is_dir():
        Manifest(read, _reader_digest(config), unnamed=_unnamed(config)).write(
            _manifest_file(config)
        )
    return read


def _is_current(manifest: Manifest, config: Config) -> bool:
    return (
        manifest.code == _reader_digest(config)
        and manifest.is_current
        and is_current(manifest.unnamed)
    )


def _unnamed(config: Config) -> Record:
    return {} if is_ours(config["data"]) else undigested_sources()


def _root_of(config: Config, paths: list[Path]) -> Path:
    """Returns the folder to which the files' names are relative."""
    root = resolved(config["data"].get("root"), "data.root")
    if isinstance(root, str) and os.path.isdir(root):
        return Path(root)
    return Path(os.path.commonpath([path.absolute().parent for path in paths]))


def _manifest_file(config: Config) -> Path:
    key = hashlib.sha256(json.dumps(_data_config(config), sort_keys=True).encode()).hexdigest()[:24]
    return _output_dir(config) / HOME / key / "manifest.json"


def _data_paths(config: Config) -> list[str]:
    """Returns the paths on disk that the config of the data names, without the root folder."""
    texts = (text for text in _texts(_data_config(config)) if os.path.isabs(text))
    return [text for text in texts if os.path.exists(text) and text != os.sep]


def _data_config(config: Config) -> Any:
    """Returns the values, with each text that is a path on disk as its real path.

    In another folder, or after a link was changed, the same text is another path.
    """
    return _with_paths(resolved(dict(config["data"]), "data"))


def _with_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: v if k == "_target_" else _with_paths(v) for k, v in value.items()}
    if isinstance(value, list):
        return [*map(_with_paths, value)]
    return os.path.realpath(value) if isinstance(value, str) and os.path.exists(value) else value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _output_dir(config: Config) -> Path:
    return Path(resolved(config["output_dir"], "output_dir"))


def _reader_digest(config: Config) -> str:
    """Returns the digest of the code and libraries that read the data."""
    versions = [python_version(), *(f"{name} {_version(name)}" for name in MAKERS)]
    return hashlib.sha256(" ".join([code_of_part(config["data"]), *versions]).encode()).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    if (digest := digest_if_readable(RunSpec.from_json(sys.stdin.read()))) is None:
        sys.exit(1)
    print(digest)
