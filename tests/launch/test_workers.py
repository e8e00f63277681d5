"""launch.ranks_per_run: a run starts its ranks itself, and ends as a run in one process does."""

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from command import TINY, environment, harness, only_run, records_of, run_folders
from conftest import cases
from forked_ranks import harness_on_ranks

from harness.launch.backends.local_ranks import rank_count
from harness.launch.backends.rank_results import read_result
from harness.run_folder.status_file import Status
from harness.system.signals import Stopped

LONG = (
    *TINY, "schedule.final=0.5", "training.epochs=1", "retraining.epochs=40",
    "checkpoint.every_steps=5",
)  # fmt: skip
TWO = "launch.ranks_per_run=2"
SAVED = {"SIGINT": 130, "SIGTERM": 75, "SIGUSR1": 75}


@pytest.fixture(scope="module", name="whole")
def fixture_whole(tmp_path_factory) -> bytes:
    """Returns the records of LONG on two ranks of a launcher."""
    runs = tmp_path_factory.mktemp("whole")
    done = harness_on_ranks(2, *LONG, f"output_dir={runs}")
    assert done.returncode == 0, done.stderr
    return (only_run(runs) / "records.jsonl").read_bytes()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the folder where commands keep temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def started(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *arguments], env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for_checkpoint(runs: Path) -> None:
    deadline = time.monotonic() + 120
    while not list(runs.glob("*/*/*/checkpoints/*.step")):
        assert time.monotonic() < deadline, "no checkpoint in two minutes"
        time.sleep(0.01)


def ranks_of(starter: int) -> dict[int, int]:
    """rank -> process id, of the starter's children."""
    children = Path(f"/proc/{starter}/task/{starter}/children")
    if not children.exists():
        pytest.skip("/proc does not list the children of a process here")
    found = {}
    for pid in map(int, children.read_text().split()):
        rank = re.search(rb"(?:^|\0)RANK=(\d+)", Path(f"/proc/{pid}/environ").read_bytes())
        assert rank
        found[int(rank[1])] = pid
    return found


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def assert_none_is_left(ranks: dict[int, int], temporary: Path) -> None:
    for pid in ranks.values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not list(temporary.glob("pruning-harness-*"))


def test_two_runs_at_once_have_the_records_of_launched_ranks(tmp_path, whole, temporary):
    both = [started(*LONG, TWO, f"output_dir={tmp_path}/{name}") for name in ("a", "b")]
    said = [run.communicate(timeout=240) for run in both]

    assert [run.returncode for run in both] == [0, 0], said
    for name, (out, errors) in zip(("a", "b"), said, strict=True):
        folder = only_run(tmp_path / name)
        assert (folder / "records.jsonl").read_bytes() == whole
        # As in one process: each record once, and where the run lies.
        assert re.findall(r"level ./1 (\w+)\s+compression", out) == ["dense", "pruned", "finetuned"]
        assert out.splitlines()[-1] == f"finished: {folder}"
        assert errors == ""
    assert_none_is_left({}, temporary)


@cases("name, to_all", ("SIGINT", True), ("SIGUSR1", False))
def test_a_signal_saves_all_ranks_and_the_same_command_goes_on(
    tmp_path, whole, temporary, name, to_all
) -> None:
    run = started(*LONG, TWO, f"output_dir={tmp_path}")
    wait_for_checkpoint(tmp_path)
    ranks = ranks_of(run.pid)
    (os.killpg if to_all else os.kill)(run.pid, signal.Signals[name])  # a terminal's; kill's
    _, errors = run.communicate(timeout=60)

    assert run.returncode == SAVED[name]
    assert errors.splitlines() == [f"harness: {name}; the same command resumes where it stopped"]
    assert list(ranks) == [0, 1]
    assert_none_is_left(ranks, temporary)
    folder = only_run(tmp_path)
    assert Status(folder, "").read()["state"] == "interrupted"
    # Ranks of a launcher go on with it too.
    again = (TWO,) if to_all else ()
    start = harness if to_all else partial(harness_on_ranks, 2)
    assert start(*LONG, *again, f"output_dir={tmp_path}").returncode == 0
    assert (folder / "records.jsonl").read_bytes() == whole
    assert '"event": "resumed"' in (folder / "timings.jsonl").read_text()


def test_a_killed_rank_fails_the_run_in_one_line_that_names_it(tmp_path, temporary) -> None:
    run = started(*LONG, TWO, f"output_dir={tmp_path}")
    wait_for_checkpoint(tmp_path)
    ranks = ranks_of(run.pid)
    os.kill(ranks[1], signal.SIGKILL)
    _, errors = run.communicate(timeout=120)

    assert run.returncode == 1
    assert errors.splitlines() == [
        f"harness: rank 1 (pid {ranks[1]}) was killed by SIGKILL (out of memory?); "
        "the same command resumes from the last checkpoint"
    ]
    assert_none_is_left(ranks, temporary)


def test_ranks_save_themselves_when_their_starter_is_killed(tmp_path, temporary) -> None:
    run = started(*LONG, TWO, f"output_dir={tmp_path}")
    wait_for_checkpoint(tmp_path)
    ranks = ranks_of(run.pid)
    run.kill()
    run.communicate(timeout=60)  # ends when rank 0, which has the same pipes, has ended

    assert len(ranks) == 2
    assert Status(only_run(tmp_path), "").read()["state"] == "interrupted"
    deadline = time.monotonic() + 60
    while list(temporary.glob("pruning-harness-*")):  # until rank 1 has ended too
        assert time.monotonic() < deadline, "the folder of the ranks is left"
        time.sleep(0.05)


def test_a_point_whose_rank_0_is_killed_fails_alone_and_a_second_start_runs_it_alone(
    tmp_path, temporary
) -> None:
    points = ("-m", *LONG, TWO, "seed=0,1", "sweep_name=two", f"output_dir={tmp_path}")
    sweep = started(*points, "hydra.launcher.n_jobs=1")
    wait_for_checkpoint(tmp_path)
    rank_0 = Status(only_run(tmp_path, "two"), "").read()["pid"]
    ranks = ranks_of(parent_of(rank_0))
    os.kill(rank_0, signal.SIGKILL)
    out, errors = sweep.communicate(timeout=240)

    assert sweep.returncode == 1 and ranks[0] == rank_0
    assert "sweep: 2 runs: 1 finished, 0 skipped, 1 failed" in out
    assert f"failed: seed=0: rank 0 (pid {rank_0}) was killed by SIGKILL" in out
    assert errors == ""
    assert_none_is_left(ranks, temporary)

    second = harness(*points)
    assert "sweep: 2 runs: 1 finished, 1 skipped, 0 failed" in second.stdout, second.stderr
    folders = run_folders(tmp_path, "two")
    assert [len(records_of(folder)) for folder in folders] == [3, 3]
    assert all('"world_size": 2' in (f / "environment.json").read_text() for f in folders)


@cases(
    "wrong, message",
    ("schedule.final=1e-9", "the requested density cannot be reached"),
    ("schedule.final=7", "schedule.final must be in (0, 1]"),
)
def test_what_is_wrong_is_told_by_the_ranks_as_by_one_process(tmp_path, wrong, message) -> None:
    one, two = (
        harness(*TINY, wrong, n, f"output_dir={tmp_path}") for n in ("launch.ranks_per_run=1", TWO)
    )

    assert one.returncode == two.returncode == 2
    assert message in two.stderr
    assert two.stderr == one.stderr
    assert run_folders(tmp_path) == []


def test_an_error_that_nobody_expects_keeps_its_traceback(tmp_path) -> None:
    (tmp_path / "own.py").write_text(
        "class Model:\n"
        "    def __init__(self, **options): pass\n"
        "    def build(self, shape, classes):\n"
        "        raise OSError('of an own part')\n"
    )  # fmt: skip
    done = harness(*TINY, TWO, "model._target_=own.Model", "output_dir=.", cwd=tmp_path)

    assert done.returncode == 1
    assert "RuntimeError: rank 0: OSError: of an own part" in done.stderr
    assert 'own.py", line 4, in build' in done.stderr


def test_ranks_that_are_there_already_win(monkeypatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")

    assert (
        rank_count({"launch": {"ranks_per_run": 1}})
        == rank_count({"launch": {"ranks_per_run": 2}})
        == 1
    )
    with pytest.raises(
        ValueError, match="launch.ranks_per_run=3 conflicts with torchrun, which started 2"
    ):
        rank_count({"launch": {"ranks_per_run": 3}})


def test_a_rank_stopped_from_outside_stops_the_run_and_a_lost_one_hides_nothing(tmp_path) -> None:
    lost = '{"error": "RankLost", "is_wrong_input": false, "line": "lost", "traceback": ""}'
    (tmp_path / "rank-0.json").write_text(lost)
    (tmp_path / "rank-1.json").write_text(lost.replace("RankLost", "NotFinite"))
    (tmp_path / "rank-2.log").write_text("harness: the last word\n")
    ended = [(7, 1), (8, 1), (9, 3)]

    with pytest.raises(Exception, match="lost") as found:
        read_result(tmp_path, ended, [0], None)
    assert type(found.value).__name__ == "NotFinite"
    (tmp_path / "rank-1.json").write_text('{"stopped": 15}')
    with pytest.raises(Stopped, match="SIGINT"):
        read_result(tmp_path, ended, [0], Stopped(signal.SIGINT))
    (tmp_path / "rank-0.json").unlink()
    with pytest.raises(Stopped) as stopped:
        read_result(tmp_path, ended, [0], None)
    assert stopped.value.status == 75
    (tmp_path / "rank-1.json").unlink()
    with pytest.raises(RuntimeError, match=r"rank 2 \(pid 9\) ended with status 3.*: the last wo"):
        read_result(tmp_path, ended, [2], None)
