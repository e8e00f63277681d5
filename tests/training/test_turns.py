"""Jobs take turns in a folder."""

from contextlib import AbstractContextManager
from pathlib import Path

from harness.distributed import Ranks
from harness.system.locks import locked
from harness.training import folder_lock as locking
from harness.training.folder_lock import folder_lock


def test_a_turn_comes_when_the_one_before_is_over(tmp_path, monkeypatch) -> None:
    first = locked(tmp_path)
    first.__enter__()
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            first.__exit__(None, None, None)

    monkeypatch.setattr(locking.time, "sleep", sleep)
    with folder_lock(tmp_path, Ranks(), None):
        assert (tmp_path / ".lock").is_dir()
    assert len(waits) == 3 and not (tmp_path / ".lock").exists()


def test_a_folder_that_is_cleared_away_just_then_is_made_again(tmp_path, monkeypatch) -> None:
    folder, calls = tmp_path / "ab" / "cd", list[Path]()

    def cleared(home: Path, wait: bool) -> AbstractContextManager[None]:
        if not calls:
            home.rmdir()
            home.parent.rmdir()
        calls.append(home)
        return locked(home, wait)

    monkeypatch.setattr(locking, "locked", cleared)
    with folder_lock(folder, Ranks(), None):
        assert (folder / ".lock").is_dir()
    assert len(calls) == 2
