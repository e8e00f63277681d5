"""Ends a run in one line where its disk becomes read-only, at any place."""

import builtins
import errno
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from command import TINY, run_main

CHANGES = ("mkdir", "unlink", "remove", "rename", "replace", "rmdir", "link", "symlink", "utime")


@dataclass
class Disk:
    """Refuses changes below `home` from the first one on whose path has the text `since`."""

    home: str
    since: str
    is_read_only: bool = False

    def check(self, path: object) -> None:
        if isinstance(path, str | os.PathLike) and str(path).startswith(self.home):
            self.is_read_only |= self.since in str(path)
            if self.is_read_only:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    def guarded(self, function: Any, changes: Callable[..., object]) -> Any:
        def call(path: Any = ".", *others: Any, **named: Any) -> Any:
            if changes(*others, **named):
                self.check(path)
            return function(path, *others, **named)

        return call


@pytest.fixture
def read_only_from(tmp_path, monkeypatch) -> Callable[[str], None]:
    """Makes the folder of the test read-only from the first change of a path with this text."""

    def begin(text: str) -> None:
        disk = Disk(str(tmp_path), text)
        kinds = {name: lambda *_, **__: True for name in CHANGES}
        kinds["open"] = lambda flags, *_, **__: flags & (os.O_WRONLY | os.O_RDWR)
        for name, changes in kinds.items():
            monkeypatch.setattr(os, name, disk.guarded(getattr(os, name), changes))
        for module in (builtins, io):
            opened = disk.guarded(module.open, lambda mode="r", *_, **__: set(mode) & set("wax+"))
            monkeypatch.setattr(module, "open", opened)

    return begin


@pytest.mark.parametrize(
    "place", ["status.json", "environment.json", ".cache/dense", "records.jsonl", "masks.safet"]
)
def test_the_run_ends_in_one_line(place, read_only_from, tmp_path, monkeypatch, capfd) -> None:
    read_only_from(place)
    short = ("training.epochs=1", "schedule.final=0.5", "progress=none")
    assert run_main(monkeypatch, *TINY, *short, f"output_dir={tmp_path}") == 1
    lines = capfd.readouterr().err.strip().splitlines()
    (line,) = [line for line in lines if not line.startswith("warning: ")]
    assert "cannot write" in line and "Read-only file system" in line
    assert "run the same command to resume" in line
