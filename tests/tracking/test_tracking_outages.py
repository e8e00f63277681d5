"""W&B fails, is gone, is slow or has no room: the training goes on, and one line says so."""

import shutil
import time
from typing import Any

import pytest
import wandb
import wandb_log
from command import TINY, harness
from conftest import cases
from tracking_fakes import FakeRun, fail, info, record, track
from wandb_stub import Stub

from harness.system.locks import locked
from harness.tracking.artifacts import ArtifactLogger
from harness.tracking.sink import RunSink
from harness.tracking.wandb import Wandb, run_id

pytest_plugins = ["wandb_fixtures"]
pytestmark = pytest.mark.usefixtures("no_settings_of_the_user")

GONE = "warning: W&B cannot be reached; this process continues offline"


def reach(monkeypatch: pytest.MonkeyPatch, stub: Stub) -> None:
    # Of one server at a time: W&B keeps the first for its process.
    wandb.teardown()
    for name, value in stub.environment.items():
        monkeypatch.setenv(name, value)


def test_wandb_that_cannot_start_stops_nothing_and_says_so_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(wandb, "init", fail)

    track(Wandb(), tmp_path)

    expected = "warning: W&B cannot start; this run continues without it: the server is gone\n"
    assert capsys.readouterr().err == expected
    assert not list((tmp_path / "wandb").iterdir())


@cases("broken", "log", "finish", "define_metric")
def test_wandb_that_fails_in_the_middle_stops_nothing_and_says_so_once(
    broken, tmp_path, monkeypatch, capsys
) -> None:
    run = FakeRun(tmp_path)
    monkeypatch.setattr(run, broken, fail)
    monkeypatch.setattr(wandb, "init", lambda **_: run)

    track(Wandb(), tmp_path)

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: W&B ") and line.endswith(": the server is gone")


@cases(
    "name, value, shown",
    ("WANDB_MODE", "bogus", "WANDB_MODE=bogus"),
    ("WANDB_BASE_URL", "nonsense", "WANDB_BASE_URL=nonsense"),
    ("WANDB_RUN_ID", "a/b", "WANDB_RUN_ID=a/b"),
    ("WANDB_API_KEY", "secret ", "WANDB_API_KEY"),
)
def test_wandb_refuses_an_environment_with_which_it_would_not_start(
    name, value, shown, monkeypatch
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ValueError) as error:
        Wandb()

    message = str(error.value)
    assert message.startswith(f"{shown} in the environment is refused by W&B: ")
    assert message.endswith("; correct or unset it, or set tracking=none")
    assert "\n" not in message and "secret" not in message
    Wandb(mode="disabled")


def test_a_wrong_environment_ends_the_command_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "bogus")

    done = harness(*TINY, "tracking=wandb", f"output_dir={tmp_path}/runs")

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "WANDB_MODE=bogus in the environment is refused by W&B" in line
    assert not list(tmp_path.glob("runs/**/*.safetensors"))


def test_wandb_without_room_stops_nothing_and_says_so_once(tmp_path, monkeypatch, capsys) -> None:
    # A file where W&B's folder should be fails also for root, whom no permission stops.
    (tmp_path / "wandb").write_text("")

    track(Wandb(), tmp_path)

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: W&B cannot start; this run continues without it: ")


def test_wandb_whose_disk_fills_up_stops_nothing_and_says_so_once(tmp_path, monkeypatch, capsys):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wandb.Run, "log", full)
    monkeypatch.setattr(wandb.Run, "log_artifact", full)

    track(Wandb(), tmp_path)

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "warning: W&B lacks data of this run (records.jsonl is complete): [Errno 28]"
    )


def test_wandb_without_its_server_goes_on_offline_and_asks_once_a_process(
    tmp_path, monkeypatch, capsys
) -> None:
    asked, init = [], wandb.init

    def init_offline_only(**settings: Any) -> Any:
        asked.append(settings["mode"])
        return fail() if settings["mode"] == "online" else init(**settings)

    monkeypatch.setattr(wandb, "init", init_offline_only)

    for name in ("a", "b"):
        track(Wandb(mode="online"), tmp_path / name)

    assert asked == ["online", "offline", "offline"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(GONE)
    for name in ("a", "b"):
        (log,) = wandb_log.logs(tmp_path / name)
        assert log.exit_code == 0 and len(log.history) == 5


def test_wandb_online_sends_rows_and_the_exit_code(tmp_path, monkeypatch) -> None:
    with Stub() as stub:
        reach(monkeypatch, stub)
        track(Wandb(mode="online", artifacts=()), tmp_path)
        wandb.teardown()

    run = stub.runs[run_id(info(tmp_path))]
    assert [row["level"] for row in run.history] == [1, 1, 2, 2, 2]
    assert (run.sent["groupName"], run.sent["jobType"], run.exit_code) == ("survey", "prune", 0)
    assert not (tmp_path / ".tracking" / run_id(info(tmp_path)) / ".lock").exists()


def test_wandb_run_whose_id_is_online_elsewhere_goes_on_offline_and_says_so(
    tmp_path, monkeypatch, capsys
) -> None:
    home = tmp_path / ".tracking" / run_id(info(tmp_path))
    home.mkdir(parents=True)
    with Stub() as stub, locked(home):
        reach(monkeypatch, stub)
        track(Wandb(mode="online"), tmp_path)

    (line,) = capsys.readouterr().err.splitlines()
    said = "warning: W&B has another run of the same id online; this run continues offline"
    assert line.startswith(said)
    assert not stub.runs
    (log,) = wandb_log.logs(tmp_path)
    assert len(log.history) == 5


@cases("lost", f".tracking/{FakeRun.id}", ".", ids=["id", "folder"])
def test_a_run_that_has_lost_its_id_or_its_folder_sends_nothing_more_and_says_so(
    tmp_path, capsys, lost
) -> None:
    run, me = FakeRun(tmp_path), info(tmp_path)
    sink = RunSink(run, me, ArtifactLogger((), False))  # type: ignore[arg-type]
    home = (me.sweep if lost != "." else me.folder) / lost
    home.mkdir(parents=True, exist_ok=True)
    with locked(home):
        shutil.rmtree(home / ".lock")
        sink.log(record(1, "pruned"))
        sink.epoch(1, 1, 0.5, 0.5)
    assert run.rows == []
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{home} is not locked by this process any more: its lock was removed" in line


def test_wandb_offline_runs_of_an_id_need_no_lock(tmp_path, capsys) -> None:
    home = tmp_path / ".tracking" / run_id(info(tmp_path))
    home.mkdir(parents=True)
    with locked(home):
        track(Wandb(), tmp_path)
    assert capsys.readouterr().err == ""


@cases("stub", Stub(delay_s=60), Stub(broken=500), ids=["slow", "broken"])
def test_wandb_whose_server_does_not_answer_in_time_goes_on_offline(
    stub, tmp_path, monkeypatch, capsys
) -> None:
    with stub:
        reach(monkeypatch, stub)
        track(Wandb(mode="online", init_timeout_s=1), tmp_path)

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(GONE)
    # The start that failed has left a folder too, without rows.
    (log,) = [log for log in wandb_log.logs(tmp_path) if log.history]
    assert log.exit_code == 0 and len(log.history) == 5


def test_wandb_whose_server_is_lost_in_the_middle_stops_nothing_and_says_so(
    tmp_path, monkeypatch, capsys
) -> None:
    with Stub() as stub:
        reach(monkeypatch, stub)
        with Wandb(mode="online", init_timeout_s=2).open(info(tmp_path)) as sink:
            stub.broken = 500
            sink.epoch(0, 1, 0.5, 0.5)
        wandb.teardown()

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: W&B lacks data of this run (records.jsonl is complete)")


def test_wandb_whose_server_hangs_in_the_middle_is_waited_for_as_long_as_set(
    tmp_path, monkeypatch, capsys
) -> None:
    with Stub() as stub:
        reach(monkeypatch, stub)
        with Wandb(mode="online", init_timeout_s=2).open(info(tmp_path)) as sink:
            stub.delay_s = 60
            sink.log(record(1, "pruned"))
            began = time.monotonic()
        assert time.monotonic() - began < 2 * 2 + 3  # for its layers, and for its end
        wandb.teardown()

    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("the server did not answer within 2 s")
