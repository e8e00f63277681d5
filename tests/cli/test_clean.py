"""Tests that what caches hold is listed and freed; results and what somebody works with stay."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import environment
from conftest import cases
from left_caches import DENSE, STAGE, kinds, run_in, written
from left_locks import GONE, lock_left_by

from harness.cli.clean import KINDS, main
from harness.system.locks import locked

HALF = ".records.jsonl.0a1b2c3d.harness-part"


@pytest.fixture(name="runs")
def fixture_runs(tmp_path) -> Path:
    """Returns a folder with one of each kind of entry.

    Its checkpoints are those of a finished, a lost and an unfinished run.
    """
    runs = tmp_path / "runs"
    written(runs / DENSE / "epoch-00002.safetensors")
    written(runs / STAGE / "state.stage")
    run_in(runs, "finished", "finished")
    run_in(runs, "gone", None)
    unfinished = run_in(runs, "unfinished", "interrupted")
    written(unfinished / HALF, 5)
    lock_left_by(GONE, unfinished)
    return runs


ALL = {
    "dense": 1, "stages": 1, "checkpoints": 2, "unfinished": 1, "leftovers": 1, "locks": 1,
}  # fmt: skip


def test_everything_is_found_and_nothing_is_freed_unasked(runs, capsys) -> None:
    assert kinds(runs) == ALL
    assert main([str(runs)]) == 0

    lines = [line.split()[:4] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["dense", "1", "1.0", "MiB"],
        ["stages", "1", "1.0", "MiB"],
        ["checkpoints", "2", "2.0", "MiB"],
        ["leftovers", "1", "0.0", "MiB"],
        ["locks", "1", "0.0", "MiB"],
        ["unfinished", "1", "1.0", "MiB"],
    ]
    assert kinds(runs) == ALL


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_asked_for_goes_and_all_else_stays(runs, kind) -> None:
    before = {path for path in runs.rglob("*") if path.is_file()}

    assert main([str(runs), "--free", kind, "--yes"]) == 0
    assert kinds(runs) == {name: count for name, count in ALL.items() if name != kind}
    lost = {path.relative_to(runs).as_posix() for path in before if not path.exists()}
    gone = {
        "dense": {f"{DENSE}/epoch-00002.safetensors"},
        "stages": {f"{STAGE}/state.stage"},
        "checkpoints": {
            f"survey/ab/{name}/checkpoints/000001-x.stage" for name in ("finished", "gone")
        },
        "leftovers": {f"survey/ab/unfinished/{HALF}"},
        "locks": {"survey/ab/unfinished/.lock/holder.json"},
    }
    assert lost == gone[kind]


def test_all_frees_all_but_what_runs_go_on_from_and_leaves_no_empty_folders(runs) -> None:
    assert main([str(runs), "--free", "all", "--yes"]) == 0

    assert kinds(runs) == {"unfinished": 1}
    assert list((runs / ".cache/dense").iterdir()) == list((runs / ".cache/stages").iterdir()) == []
    assert not (runs / "survey" / "ab" / "finished" / "checkpoints").exists()
    assert (runs / "survey" / "ab" / "gone" / "records.jsonl").exists()


@cases("home", DENSE, STAGE, "survey/ab/finished", "survey/ab/gone")
def test_what_a_living_process_holds_stays(runs, home, capsys) -> None:
    before = {path for path in (runs / home).rglob("*") if path.is_file()}
    with locked(runs / home, wait=False):
        assert main([str(runs), "--free", "all", "--yes"]) == 0
        assert f"left: {runs / home} is in use by process {os.getpid()}" in capsys.readouterr().out
        assert all(path.exists() for path in before)


def test_a_file_that_a_living_process_is_writing_is_no_leftover(runs) -> None:
    stage = runs / STAGE
    written(stage / ".state.stage.0a1b2c3d.harness-part")
    checkpoint = runs / "survey" / "ab" / "gone"
    written(checkpoint / "checkpoints" / ".000002-y.stage.0a1b2c3d.harness-part")
    assert kinds(runs)["leftovers"] == 3

    with locked(stage), locked(checkpoint):
        assert kinds(runs)["leftovers"] == 1


def test_a_young_file_without_a_lock_is_no_leftover(runs) -> None:
    written(runs / "survey" / ".plan.json.0a1b2c3d.harness-part", hours_ago=0)
    assert kinds(runs)["leftovers"] == 1


def test_checkpoints_of_dense_training_go_with_it_only(runs) -> None:
    half = written(runs / DENSE / "checkpoints" / "000001-x.step")

    assert kinds(runs) == ALL
    assert main([str(runs), "--free", "checkpoints", "--yes"]) == 0
    assert half.exists()
    assert main([str(runs), "--free", "dense", "--yes"]) == 0
    assert not half.exists()


OLD = ".cache/dense/12/12" + 22 * "a"


def test_what_was_used_lately_stays(runs) -> None:
    old = written(runs / OLD / "epoch-00001.safetensors", hours_ago=49)

    assert main([str(runs), "--free", "dense", "stages", "--unused-for", "2", "--yes"]) == 0
    assert not old.exists()
    assert (runs / DENSE).exists() and kinds(runs) == ALL


def test_taking_the_lock_of_an_entry_counts_as_use(runs) -> None:
    old = written(runs / OLD / "epoch-00001.safetensors", hours_ago=49).parent
    with locked(old):
        pass

    assert main([str(runs), "--free", "dense", "--unused-for", "1", "--yes"]) == 0
    assert old.exists()


def test_a_run_whose_status_cannot_be_read_keeps_its_checkpoints(runs) -> None:
    (runs / "survey" / "ab" / "finished" / "status.json").write_text("{")
    assert kinds(runs)["unfinished"] == 2


def test_nobody_to_ask_is_no_consent(runs, capsys) -> None:
    # Under pytest the standard input is no terminal.
    assert main([str(runs), "--free", "all"]) == 2
    assert "add --yes" in capsys.readouterr().err
    assert kinds(runs) == ALL


@cases("answer, left", ("y", 0), ("n", 1), ("", 1))
def test_on_a_terminal_it_asks(runs, monkeypatch, answer, left) -> None:
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda text: (asked.append(text), answer)[1])

    assert main([str(runs), "--free", "dense"]) == 0
    assert asked == ["free 1 entries, 1.0 MiB? [y/N] "]
    assert kinds(runs).get("dense", 0) == left


@cases(
    "arguments, said",
    (["nowhere"], "RUNS=nowhere is no folder"),
    ([".", "--free", "dens"], "invalid choice: 'dens'"),
    ([".", "--free"], "expected at least one argument"),
    ([".", "--unused-for", "-1"], ">= 0, got -1"),
    ([".", "--unused-for", "nan"], ">= 0, got nan"),
    ([".", "--unused-for", "week"], "invalid float value: 'week'"),
)
def test_wrong_input_is_one_line_and_status_2(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        status = main(arguments)
    except SystemExit as leave:
        status = int(leave.code or 0)

    (line,) = capsys.readouterr().err.splitlines()
    assert status == 2 and line.startswith("harness: ") and said in line


def test_it_needs_no_torch(runs) -> None:
    code = "import sys; from harness.cli.clean import main; main(sys.argv[1:]); "
    code += "assert 'torch' not in sys.modules and 'hydra' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code, str(runs)], env=environment())
    assert done.returncode == 0
