"""No network: W&B runs offline, and its outages are played."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import wandb
import wandb_log
import yaml
from tracking_fakes import FakeRun, fail, info, record, track

import harness.tracking.wandb as tracked
from harness.tracking.base import Tracking
from harness.tracking.none import NoTracking
from harness.tracking.rows import Steps
from harness.tracking.wandb import Wandb, run_id

CONF = Path(__file__).parents[1] / "conf" / "tracking"


@pytest.fixture(autouse=True)
def no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_RUN_ID", "WANDB_API_KEY", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tracked, "_online_failed", False)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> wandb_log.WandbLog:
    folder = tmp_path_factory.mktemp("run")
    track(Wandb(tags=("mine", "lenet"), notes="first try", entity="team"), folder)
    (log,) = wandb_log.logs(folder)
    return log


def test_wandb_run_says_what_it_is(log: wandb_log.WandbLog) -> None:
    assert (log.project, log.entity, log.notes) == ("pruning-harness", "team", "first try")
    assert (log.group, log.job_type) == ("survey", "prune")
    assert log.name == "Global Magnitude seed 7"
    assert set(log.tags) == {"global_magnitude", "lenet", "digits", "mine"}
    assert log.config["seed"] == 7
    assert log.config["schedule"] == {"levels": 2, "densities": [0.5, 0.25]}


def test_wandb_draws_every_metric_over_compression(log: wandb_log.WandbLog) -> None:
    assert log.step_metrics == {"compression": "", "*": "compression"}


def test_wandb_stages_of_a_level_share_one_step_made_of_the_compression(
    log: wandb_log.WandbLog,
) -> None:
    first, second = log.history[:2]
    assert [row["_step"] for row in (first, second)] == [2000, 4000]
    assert (first["level"], first["compression"], first["target_compression"]) == (1, 1.99, 2)
    assert (first["pruned/top1"], first["finetuned/top1"]) == (0.4, 0.9)
    assert (second["compression"], second["finetuned/parameters"]) == (3.98, 250)
    for metric in ("loss", "validation_top1", "validation_loss", "density", "speedup", "macs"):
        assert f"finetuned/{metric}" in second


def test_wandb_gets_the_density_of_every_layer_once(log: wandb_log.WandbLog) -> None:
    table = log.tables["layers"]
    assert table["columns"] == ["compression", "level", "stage", "layer", "density"]
    assert len(table["data"]) == 8
    assert table["data"][0] == [1.99, 1, "pruned", "conv.weight", 0.5]
    assert table["data"][-1] == [3.98, 2, "finetuned", "fc.weight", 0.125]
    assert sum("layers" in row for row in log.history) == 1


def test_wandb_finished_run_ends_with_exit_code_0(log: wandb_log.WandbLog) -> None:
    assert log.exit_code == 0


def test_wandb_failed_run_ends_with_exit_code_1_and_keeps_its_rows(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="mine"), Wandb().open(info(tmp_path)) as sink:
        sink.log(record(1, "pruned"))
        raise KeyError("mine")

    (log,) = wandb_log.logs(tmp_path)
    assert log.exit_code == 1
    assert log.history[0]["pruned/top1"] == 0.4
    assert len(log.tables["layers"]["data"]) == 2


def test_wandb_run_id_is_a_hash_of_group_method_seed_and_setting(tmp_path: Path) -> None:
    one = info(tmp_path)
    expected = hashlib.sha256(b'["survey", "global_magnitude", 7, "5e77"]').hexdigest()[:16]
    assert run_id(one) == expected
    assert run_id(replace(one, id="f" * 12, folder=tmp_path / "b", config={})) == expected
    for change in ({"group": "b"}, {"method": "b"}, {"seed": 8}, {"setting": "b"}):
        assert run_id(replace(one, **change)) != expected


def test_wandb_runs_of_a_survey_share_one_wandb_run(tmp_path: Path) -> None:
    for level in (2, 1):
        with Wandb().open(replace(info(tmp_path), id=f"{level:012}")) as sink:
            sink.log(record(level, "finetuned"))

    first, second = wandb_log.logs(tmp_path)
    assert first.id == second.id == run_id(info(tmp_path))
    assert {log.history[0]["_step"] for log in (first, second)} == {2000, 4000}


def test_wandb_levels_inside_one_training_get_a_row_each(tmp_path: Path) -> None:
    shrinking = [replace(record(level, "pruned"), on_the_way=level < 3) for level in (1, 2, 3)]
    with Wandb().open(info(tmp_path)) as sink:
        for one in [*shrinking, record(3, "finetuned")]:
            sink.log(one)

    (log,) = wandb_log.logs(tmp_path)
    rows = [row for row in log.history if "level" in row]
    assert [(row["_step"], row["level"]) for row in rows] == [(2000, 1), (4000, 2), (8000, 3)]
    assert ["pruned/top1" in row for row in rows] == [True, True, True]
    assert ["finetuned/top1" in row for row in rows] == [False, False, True]


def test_wandb_levels_whose_masks_are_released_get_steps_of_their_own() -> None:
    soft = [replace(record(level, "finetuned"), target_compression=1.0) for level in (1, 2, 3)]
    steps = Steps()
    assert [steps.of(one) for one in soft] == [1000, 1001, 1002]


def test_wandb_all_stages_of_a_level_share_its_step() -> None:
    steps = Steps()
    stages = ("penalised", "pruned", "recalibrated", "finetuned")
    assert {steps.of(record(1, stage)) for stage in stages} == {2000}


def test_wandb_gets_what_the_training_cost(log: wandb_log.WandbLog) -> None:
    first = log.history[0]
    costs = ("examples", "training_flops", "training_flops_dense", "gradient_norm")
    assert [first[f"finetuned/{name}"] for name in costs] == [1200, 3600, 7200, 0.125]


def test_wandb_steps_rise_even_where_the_compression_does_not() -> None:
    steps = Steps(free=4001)
    assert [steps.of(record(level, "pruned")) for level in (1, 1, 2, 3)] == [4001, 4001, 4002, 8000]


def test_wandb_step_that_was_sent_is_not_used_again() -> None:
    steps = Steps()
    assert steps.of(record(1, "finetuned")) == 2000
    steps.close_level()
    assert steps.of(record(1, "finetuned")) == 2001


def test_wandb_dense_row_is_sent_by_the_first_run_of_a_survey_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = FakeRun(starting_step=4001)
    monkeypatch.setattr(wandb, "init", lambda **_: run)
    with Wandb(mode="online").open(info(tmp_path)) as sink:
        sink.log(replace(record(1, "dense"), level=0, target_compression=1.0, layers={}))
        sink.log(replace(record(1, "finetuned"), layers={}))

    assert [(row["level"], row["step"]) for row in run.rows] == [(1, 4001)]
    assert run.exit_codes == [0]


def test_wandb_that_cannot_start_stops_nothing_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wandb, "init", fail)

    track(Wandb(), tmp_path)

    expected = "W&B cannot start, this run goes on without it: the server is gone\n"
    assert capsys.readouterr().err == expected
    assert not list(tmp_path.iterdir())


def test_wandb_that_cannot_log_or_finish_stops_nothing_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = FakeRun(starting_step=0)
    monkeypatch.setattr(run, "log", fail)
    monkeypatch.setattr(run, "finish", fail)
    monkeypatch.setattr(wandb, "init", lambda **_: run)

    track(Wandb(), tmp_path)

    (line,) = capsys.readouterr().err.splitlines()
    assert line == "W&B did not get all of this run (records.jsonl has it): the server is gone"


def test_wandb_without_its_server_goes_on_offline_and_asks_once_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
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
    assert line.startswith("W&B cannot be reached, this process goes on offline")
    for name in ("a", "b"):
        (log,) = wandb_log.logs(tmp_path / name)
        assert log.exit_code == 0 and len(log.history) == 3


def test_wandb_settings_that_its_version_does_not_know_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert tracked._settings(20).x_transaction_log_flush_interval == 0.5

    known = dict(wandb.Settings.model_fields)
    del known["x_transaction_log_flush_interval"]
    monkeypatch.setattr(wandb.Settings, "model_fields", known)

    assert tracked._settings(20).x_transaction_log_flush_interval == 15


@pytest.mark.parametrize("tracking", [Wandb(mode="disabled"), NoTracking()])
def test_no_tracking_writes_nothing(tracking: Tracking, tmp_path: Path) -> None:
    track(tracking, tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_tracking_lets_an_exception_pass(tmp_path: Path) -> None:
    with pytest.raises(KeyError), NoTracking().open(info(tmp_path)):
        raise KeyError


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"mode": "off"}, "mode must be one of online, offline, disabled, got 'off'"),
        ({"project": "team/project"}, "project must have .* got 'team/project'"),
        ({"project": ""}, "project must have 1 to 128 characters"),
        ({"init_timeout_s": 0}, "init_timeout_s must be above 0 seconds, got 0"),
        ({"tags": "mine"}, r"tags must be a list, got the text 'mine'; write \[mine\]"),
        ({"tags": ["x" * 65]}, "tags must be texts of 1 to 64 characters"),
    ],
)
def test_wandb_refuses_what_would_fail_later(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Wandb(**wrong)


def test_wandb_conf_has_the_defaults_of_the_class() -> None:
    values = yaml.safe_load((CONF / "wandb.yaml").read_text())
    assert values.pop("_target_") == f"{Wandb.__module__}.{Wandb.__name__}"
    assert Wandb(**values | {"tags": tuple(values["tags"])}) == Wandb()
    assert yaml.safe_load((CONF / "none.yaml").read_text()) == {
        "_target_": f"{NoTracking.__module__}.{NoTracking.__name__}"
    }
