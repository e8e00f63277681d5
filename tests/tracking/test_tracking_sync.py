"""Tests pruning-harness tracking sync, against a W&B server on loopback."""

import time
from pathlib import Path

import pytest
from command import python
from conftest import cases
from tracking_fakes import info, record
from wandb_log import logs
from wandb_stub import Stub

from harness.cli.tracking import main
from harness.system.locks import locked
from harness.tracking.base import RunInfo
from harness.tracking.sync import offline_runs
from harness.tracking.wandb import Wandb, run_id

pytest_plugins = ["wandb_fixtures"]
pytestmark = pytest.mark.usefixtures("nobody_logged_in")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def offline(runs: Path, name: str, level: int) -> RunInfo:
    """Writes a run of a survey: one level, whose rows W&B keeps offline."""
    me = info(runs / "survey" / name[:2] / name, sweep=runs / "survey")
    me.folder.mkdir(parents=True, exist_ok=True)
    (me.folder / "records.jsonl").write_text("{}\n")
    with Wandb().open(me) as sink:
        sink.log(record(level, "finetuned"))
    _wait_for_the_end(me.folder)
    return me


def _wait_for_the_end(folder: Path) -> None:
    assert all(log.exit_code == 0 for log in logs(folder))


def test_sync_merges_the_folders_of_one_id_in_their_order(runs, stub, capfd) -> None:
    me = offline(runs, "b2", level=1)
    time.sleep(1.1)  # W&B's own order is by whole seconds
    offline(runs, "a1", level=2)

    assert main(["sync", str(runs)]) == 0

    (name,) = stub.runs
    assert name == run_id(me)
    rows = [row for row in stub.runs[name].history if "finetuned/top1" in row]
    assert [row["level"] for row in rows] == [1, 2]
    steps = [row["_step"] for row in stub.runs[name].history]
    assert steps == sorted(set(steps))
    assert capfd.readouterr().out == f"[1/1] {name}: uploaded\n"


def test_sync_sends_what_the_run_is_and_its_artifacts(runs, stub) -> None:
    me = offline(runs, "a1", level=1)
    me.dense.mkdir(parents=True)
    offline(runs, "a1", level=1)

    assert main(["sync", str(runs), "--project", "mine", "--entity", "me"]) == 0

    (run,) = stub.runs.values()
    assert (run.sent["project"], run.sent["entity"]) == ("mine", "me")
    assert (run.sent["groupName"], run.config["seed"], run.exit_code) == ("survey", 7, 0)
    brought = {one.type: one.logged_by for one in stub.artifacts.values()}
    assert brought.keys() == {"records", "dense-training", "run_table"}
    assert brought["dense-training"] == [run_id(me)]
    (records,) = [one for one in stub.artifacts.values() if one.type == "records"]
    assert records.files["records.jsonl"] == b"{}\n"


def test_sync_links_every_other_run_with_the_dense_training(runs, stub) -> None:
    for name in ("a1", "b2"):
        me = info(runs / "survey" / name, sweep=runs / "survey")
        me.dense.mkdir(parents=True)
        with Wandb().open(me) as sink:
            sink.log(record(1, "finetuned"))
        _wait_for_the_end(me.folder)

    assert main(["sync", str(runs)]) == 0

    (dense,) = [one for one in stub.artifacts.values() if one.type == "dense-training"]
    assert (len(dense.logged_by), len(dense.used_by)) == (1, 1)


def test_sync_uploads_nothing_twice(runs, stub, capfd) -> None:
    offline(runs, "a1", level=1)
    assert main(["sync", str(runs)]) == 0
    asked = len(stub.requests)
    capfd.readouterr()

    assert main(["sync", str(runs)]) == 0

    assert capfd.readouterr().out == f"nothing to upload below {runs}\n"
    assert len(stub.requests) == asked


def test_sync_of_a_folder_without_offline_runs_is_done(tmp_path, capfd) -> None:
    assert main(["sync", str(tmp_path)]) == 0
    assert capfd.readouterr().out == f"nothing to upload below {tmp_path}\n"


def test_sync_leaves_runs_that_are_at_work_for_later_and_says_how_many(runs, capfd) -> None:
    me = offline(runs, "a1", level=1)
    offline(runs, "b2", level=2)  # of the same id
    other = runs / "other" / "wandb" / "offline-run-20200101_000000-other"
    other.mkdir(parents=True)
    (other / "run-other.wandb").touch()

    with locked(me.folder):
        assert main(["sync", str(runs), "--dry-run"]) == 0
    said = capfd.readouterr().out.splitlines()
    assert said[0] == "left for later: 1 of 2 W&B runs, which are running"
    assert [line for line in said if line.startswith("would")] == ["would upload other:"]

    assert main(["sync", str(runs), "--dry-run"]) == 0
    said = capfd.readouterr().out.splitlines()
    assert said[0] == "would upload other:" and f"would upload {run_id(me)}:" in said


def test_sync_takes_the_oldest_first(tmp_path) -> None:
    for folder in (
        "a/wandb/offline-run-20260102_000000-x",
        "b/wandb/offline-run-20260101_000000-x",
        "c/wandb/offline-run-20251231_000000-y",
    ):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"run-{folder[-1]}.wandb").touch()
    found = [
        (one.id, [path.parents[1].name for path in one.folders]) for one in offline_runs(tmp_path)
    ]
    assert found == [("y", ["c"]), ("x", ["b", "a"])]


def test_sync_is_not_turned_off_by_the_mode_of_a_training(runs, stub, monkeypatch) -> None:
    offline(runs, "a1", level=1)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert main(["sync", str(runs)]) == 0
    assert stub.runs


def test_sync_says_what_it_would_do(runs, stub, capfd) -> None:
    me = offline(runs, "a1", level=1)

    assert main(["sync", str(runs), "--dry-run"]) == 0

    head, folder = capfd.readouterr().out.splitlines()
    assert head == f"would upload {run_id(me)}:"
    assert Path(folder.strip()).parent == me.folder / "wandb"
    assert not stub.requests


def test_sync_goes_on_after_a_failure_and_lists_it(runs, stub, capfd) -> None:
    me = offline(runs, "a1", level=1)
    broken = runs / "other" / "wandb" / "offline-run-20200101_000000-damaged"
    broken.mkdir(parents=True)
    (broken / "run-damaged.wandb").write_bytes(b"no W&B file")

    assert main(["sync", str(runs)]) == 1

    said = capfd.readouterr()
    assert said.out.splitlines()[0].startswith("[1/2] damaged: ")
    assert said.out.splitlines()[1] == f"[2/2] {run_id(me)}: uploaded"
    assert said.err == "harness: not uploaded: damaged; the same command tries again\n"


def test_sync_says_when_the_server_does_not_answer(runs, monkeypatch, capfd) -> None:
    offline(runs, "a1", level=1)
    with Stub() as stub:
        gone = stub.url
    monkeypatch.setenv("WANDB_BASE_URL", gone)

    assert main(["sync", str(runs)]) == 1

    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"harness: {gone} does not answer (")


def test_sync_refuses_an_address_that_is_none(runs, monkeypatch, capfd) -> None:
    offline(runs, "a1", level=1)
    monkeypatch.setenv("WANDB_BASE_URL", "nonsense")

    assert main(["sync", str(runs)]) == 2

    (line,) = capfd.readouterr().err.splitlines()
    refused = "harness: WANDB_BASE_URL=nonsense in the environment is refused by W&B: "
    assert line.startswith(refused)


def test_sync_says_when_nobody_is_logged_in(runs, stub, monkeypatch, capfd) -> None:
    offline(runs, "a1", level=1)
    monkeypatch.delenv("WANDB_API_KEY")

    assert main(["sync", str(runs)]) == 1

    (line,) = capfd.readouterr().err.splitlines()
    assert line == "harness: no user is logged in to W&B: run `wandb login` or set WANDB_API_KEY"


def test_sync_gives_up_on_a_slow_server_after_the_limit(runs, stub, capfd) -> None:
    me = offline(runs, "a1", level=1)
    stub.delay_s = 3

    assert main(["sync", str(runs), "--limit", "1"]) == 1

    assert f"{run_id(me)}: not uploaded in 1 s" in capfd.readouterr().out


@cases(
    "arguments, message",
    (["sync", "nowhere"], "harness: RUNS=nowhere is not a folder"),
    (["sync", ".", "--limit", "0"], "harness: --limit must be above 0 seconds, got 0"),
    (["sink", "."], "harness: argument COMMAND: invalid choice: 'sink'"),
)
def test_sync_refuses_wrong_input(arguments, message) -> None:
    done = python("-m", "harness", "tracking", *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(message)
