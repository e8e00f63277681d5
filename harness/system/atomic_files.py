"""Writes files so that readers see the old or the new content, never a part."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from harness.system.deletion import SUFFIX
from harness.system.json_schema import parse_json
from harness.system.leases import check_leases


class CannotWrite(RuntimeError):
    """Reports that a file could not be written: the disk is full, read-only or gone."""

    @classmethod
    def of(cls, path: Path, error: OSError) -> Self:
        return cls(
            f"cannot write {path} ({error.strerror}); make room or choose another folder with "
            "output_dir=PATH, then run the same command to resume"
        )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError inside the context into CannotWrite.

    Raises:
        CannotWrite: An OSError inside. Names the file and the system's reason.
        LeaseLost: This process has lost the folder of the file. Nothing runs inside.
    """
    check_leases(path)
    try:
        yield
    except OSError as error:
        raise CannotWrite.of(path, error) from error


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turns an error of the disk inside the context into CannotWrite, whatever met it.

    folder: named where the error names no file.

    Raises:
        CannotWrite: the disk is read-only or full, or the quota is used up.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            raise
        raise CannotWrite.of(Path(error.filename or folder), error) from error


def write_atomic(path: Path, content: bytes | str) -> None:
    """Writes a file so that a reader sees the old or the new content, also after a kill.

    Raises:
        CannotWrite: The disk is full, read-only or gone. The old content stays.
        LeaseLost: This process has lost the folder. The content belongs to its new holder.
    """
    temporary = temporary_name(path)
    data = content.encode() if isinstance(content, str) else content
    try:
        with writing(path):
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            check_leases(path)  # again, because a long write takes time
            temporary.replace(path)
    finally:
        with suppress(OSError):  # a read-only disk refuses even to remove what is not there
            temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """Returns a temporary name beside the path. `clean` recognizes leftovers by its suffix."""
    return path.with_name(f".{path.name}.{uuid4().hex[:8]}{SUFFIX}")


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """Returns the file's value, or None if the file is missing.

    Raises:
        ValueError: The file is no JSON. The error names it.
    """
    try:
        return parse_json(path.read_text())
    except ValueError as error:  # also raised for bytes that are no text
        raise ValueError(f"{path} is damaged ({error}); delete its folder and run again") from error
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_object(path: Path) -> dict[str, Any]:
    """Returns the file's JSON object, empty if the file is missing.

    Raises:
        ValueError: The file holds no JSON object. The error names it.
    """
    value = read_json(path)
    if value is None and not path.exists():
        return {}
    if not isinstance(value, dict):
        raise ValueError(
            f"{path} is damaged (it is no JSON object); delete its folder and run again"
        )
    return value


def make_writable(folder: Path) -> None:
    """Creates the folder and checks that files can be written into it.

    Raises:
        ValueError: The folder is not writable. The error names it and the system's reason.
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
