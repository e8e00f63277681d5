"""Whole files or none."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from harness.system.deletion import SUFFIX
from harness.system.leases import check_leases


class CannotWrite(RuntimeError):
    """A file could not be written: the disk is full, read-only or gone."""

    @classmethod
    def of(cls, path: Path, error: OSError) -> Self:
        return cls(
            f"cannot write {path} ({error.strerror}); make room or choose another folder with "
            "output_dir=PATH, then the same command goes on"
        )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """
    Raises:
        CannotWrite: for an OSError inside; it names the file and the system's reason.
        LeaseLost: this process has lost the folder that it lies in; nothing is done inside.
    """
    check_leases(path)
    try:
        yield
    except OSError as error:
        raise CannotWrite.of(path, error) from error


def write_atomic(path: Path, content: bytes | str) -> None:
    """Writes path so that a reader sees the old or the new content, also after a kill.

    Raises:
        CannotWrite: the disk is full, read-only or gone; the old content is as it was.
        LeaseLost: this process has lost the folder; the content is whoever's has it now.
    """
    temporary = temporary_name(path)
    data = content.encode() if isinstance(content, str) else content
    try:
        with writing(path):
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            check_leases(path)  # to write much takes its time
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """Beside the path; it says whose it is, so that `clean` may delete what is left of it."""
    return path.with_name(f".{path.name}.{uuid4().hex[:8]}{SUFFIX}")


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """The file's value, or None if there is no such file.

    Raises:
        ValueError: it is not JSON; it names the file.
    """
    try:
        return json.loads(path.read_text())
    except ValueError as error:  # also of bytes that are no text
        raise ValueError(f"{path} is damaged ({error}); delete its folder and run again") from error
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_object(path: Path) -> dict[str, Any]:
    """The file's JSON object, empty if there is no such file.

    Raises:
        ValueError: it holds none; it names the file.
    """
    found = read_json(path)
    if found is None and not path.exists():
        return {}
    if not isinstance(found, dict):
        raise ValueError(
            f"{path} is damaged (it is no JSON object); delete its folder and run again"
        )
    return found


def make_writable(folder: Path) -> None:
    """Creates the folder and proves that files can be written into it.

    Raises:
        ValueError: they cannot; it names the folder and the system's reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = temporary_name(folder / "probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"cannot write into {folder} ({error.strerror}); choose another folder with "
            "output_dir=PATH"
        ) from error
