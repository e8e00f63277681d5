"""Results may lie on a network file system that many hosts write to."""

import re
from pathlib import Path

from grids import TINY, planned_of

import harness

HOME = Path(str(harness.__file__)).parent


def test_nothing_relies_on_locks_of_the_file_system() -> None:
    found = re.compile(r"fcntl|flock|lockf|filelock")

    named = {str(f.relative_to(HOME)) for f in HOME.rglob("*.py") if found.search(f.read_text())}
    assert named == {"system/locks.py"}  # says why it does without
    assert "import fcntl" not in (HOME / "system" / "locks.py").read_text()


def test_only_files_in_a_runs_folder_are_appended_to_which_a_lock_keeps_for_one_process() -> None:
    appends = re.compile(r"""open\([^)]*["']a[b+]?["']""")

    found = {file.name for file in HOME.rglob("*.py") if appends.search(file.read_text())}
    # records.jsonl, and beside it what a tracker was sent.
    assert found == {"records.py", "sent_rows.py"}


def test_runs_lie_below_folders_of_two_hex_digits() -> None:
    points = planned_of(*TINY, "sweep_name=many", "seed=range(0,40)")
    folders = [Path(point.folder) for point in points]

    assert len(set(folders)) == 40
    assert {folder.parents[1] for folder in folders} == {Path("runs/many")}
    assert all(re.fullmatch("[0-9a-f]{2}", folder.parent.name) for folder in folders)
    assert len({folder.parent for folder in folders}) > 20
