"""Tests what an offline run of W&B holds."""

import hashlib
import signal
from dataclasses import replace
from typing import Any

import pytest
import wandb
import wandb_log
import yaml
from conftest import ROOT, cases
from tracking_fakes import info, record, track

from harness.system.signals import Stopped
from harness.tracking.none import NoTracking
from harness.tracking.wandb import Wandb, run_id
from harness.tracking.wandb_settings import settings

pytest_plugins = ["wandb_fixtures"]
pytestmark = pytest.mark.usefixtures("no_settings_of_the_user")

CONF = ROOT / "conf" / "tracking"


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> wandb_log.WandbLog:
    folder = tmp_path_factory.mktemp("run")
    track(Wandb(tags=("mine", "lenet"), notes="first try", entity="team"), folder)
    (log,) = wandb_log.logs(folder)
    return log


def test_wandb_run_says_what_it_is(log) -> None:
    assert (log.project, log.entity, log.notes) == ("pruning-harness", "team", "first try")
    assert (log.group, log.job_type) == ("survey", "prune")
    assert log.name == "Global Magnitude seed 7"
    assert set(log.tags) == {"global_magnitude", "lenet", "digits", "mine"}
    assert log.config["seed"] == 7
    assert log.config["schedule"] == {"levels": 2, "densities": [0.5, 0.25]}


def test_wandb_draws_levels_over_the_density_of_all_weights_and_epochs_over_epoch(log) -> None:
    stages = ("initial", "dense", "penalised", "pruned", "recalibrated", "finetuned")
    over_density = {f"{name}/*": "density_of_weights" for name in (*stages, "weights", "speed")}
    axes = {"density_of_weights": "", "compression": "", "epoch": ""}
    assert log.step_metrics == {**axes, **over_density, "training/*": "epoch"}


def test_wandb_stage_gets_a_row_with_its_density_and_a_step_made_of_the_compression(log) -> None:
    pruned, finetuned, next_level = log.history[:3]
    assert [row["_step"] for row in (pruned, finetuned, next_level)] == [2000, 2001, 4000]
    where = ("level", "density_of_weights", "compression", "requested_compression")
    assert [finetuned[name] for name in where] == [1, 0.5, 1.99, 2]
    assert (finetuned["density"], finetuned["density_of"]) == (0.5, "weights")
    assert (pruned["pruned/top1"], finetuned["finetuned/top1"]) == (0.4, 0.9)
    assert (next_level["pruned/parameters"], log.history[3]["finetuned/parameters"]) == (250, 250)
    metrics = ("loss", "validation_top1", "validation_loss", "density_of_weights", "speedup")
    for metric in (*metrics, "macs"):
        assert f"finetuned/{metric}" in finetuned


def test_wandb_row_of_a_stage_has_a_histogram_of_its_layers_densities(log) -> None:
    drawn = log.history[0]["pruned/layer_densities"]
    assert (drawn["_type"], len(drawn["values"]), len(drawn["bins"])) == ("histogram", 20, 21)
    # 0.5 and 0.25 in bins of 0.05; a layer on an edge counts in the bin above.
    assert [number for number, count in enumerate(drawn["values"]) if count] == [5, 10]


def test_wandb_summary_has_the_last_level(log) -> None:
    assert (log.summary["finetuned/parameters"], log.summary["density"]) == (250, 0.25)
    assert log.summary["density_of"] == "weights"


def test_wandb_gets_the_density_of_every_layer_once(log) -> None:
    table = log.tables["layers"]
    assert table["columns"] == ["compression", "level", "stage", "layer", "density"]
    assert len(table["data"]) == 8
    assert table["data"][0] == [1.99, 1, "pruned", "conv.weight", 0.5]
    assert table["data"][-1] == [3.98, 2, "finetuned", "fc.weight", 0.125]
    assert sum("layers" in row for row in log.history) == 1


def test_wandb_finished_run_ends_with_exit_code_0(log) -> None:
    assert log.exit_code == 0


def test_wandb_failed_run_ends_with_exit_code_1_and_keeps_its_rows(tmp_path) -> None:
    with pytest.raises(KeyError, match="mine"), Wandb().open(info(tmp_path)) as sink:
        sink.log(record(1, "pruned"))
        raise KeyError("mine")

    (log,) = wandb_log.logs(tmp_path)
    assert log.exit_code == 1
    assert log.history[0]["pruned/top1"] == 0.4
    assert len(log.tables["layers"]["data"]) == 2


@pytest.mark.parametrize(
    "error, status",
    [(KeyboardInterrupt(), 130), (Stopped(signal.SIGINT), 130), (Stopped(signal.SIGTERM), 75)],
)
def test_wandb_interrupted_run_ends_with_the_exit_code_of_its_command(tmp_path, error, status):
    with pytest.raises(type(error)), Wandb().open(info(tmp_path)):
        raise error

    (log,) = wandb_log.logs(tmp_path)
    assert log.exit_code == status


def test_wandb_run_id_is_a_hash_of_group_method_seed_and_setting(tmp_path) -> None:
    one = info(tmp_path)
    expected = hashlib.sha256(b'["survey", "global_magnitude", 7, "5e77"]').hexdigest()[:16]
    assert run_id(one) == expected
    assert run_id(replace(one, id="f" * 12, folder=tmp_path / "b", config={})) == expected
    for change in ({"group": "b"}, {"method": "b"}, {"seed": 8}, {"setting": "b"}):
        assert run_id(replace(one, **change)) != expected


def test_wandb_runs_of_a_survey_share_one_wandb_run(tmp_path) -> None:
    for level in (2, 1):
        with Wandb().open(replace(info(tmp_path), id=f"{level:012}")) as sink:
            sink.log(record(level, "finetuned"))

    first, second = wandb_log.logs(tmp_path)
    assert first.id == second.id == run_id(info(tmp_path))
    assert {log.history[0]["_step"] for log in (first, second)} == {2000, 4000}


def test_wandb_gets_what_the_training_cost(log) -> None:
    costs = ("examples", "training_flops", "training_flops_dense", "gradient_norm")
    assert [log.history[1][f"finetuned/{name}"] for name in costs] == [1200, 3600, 7200, 0.125]


def test_wandb_settings_that_its_version_does_not_know_are_left_out(monkeypatch) -> None:
    assert settings(20).x_transaction_log_flush_interval == 0.5

    known = dict(wandb.Settings.model_fields)
    del known["x_transaction_log_flush_interval"]
    monkeypatch.setattr(wandb.Settings, "model_fields", known)

    assert settings(20).x_transaction_log_flush_interval == 15


def test_wandb_measures_the_machine_unless_told_not_to() -> None:
    assert not settings(20).x_disable_stats
    assert settings(20, system_metrics=False).x_disable_stats


def test_wandb_measures_the_machine_as_its_run_says(tmp_path, monkeypatch) -> None:
    given = []
    init = wandb.init

    def seen(**asked: Any) -> Any:
        run = init(**asked)
        given.append((run.settings.x_disable_stats, run.settings.console))
        return run

    monkeypatch.setattr(wandb, "init", seen)
    for measured in (False, True):
        track(Wandb(system_metrics=measured), tmp_path / str(measured))
    assert given == [(True, "off"), (False, "off")]


def test_wandb_leaves_one_folder_and_no_links(tmp_path) -> None:
    track(Wandb(), tmp_path)
    (folder,) = (tmp_path / "wandb").iterdir()
    assert folder.name.startswith("offline-run-")


@cases("tracking", Wandb(mode="disabled"), NoTracking())
def test_no_tracking_writes_nothing(tracking, tmp_path) -> None:
    track(tracking, tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_tracking_lets_an_exception_pass(tmp_path) -> None:
    with pytest.raises(KeyError), NoTracking().open(info(tmp_path)):
        raise KeyError


@cases(
    "wrong, message",
    ({"mode": "off"}, "mode must be one of online, offline, disabled, got 'off'"),
    ({"project": "team/project"}, "project must have none of .* got 'team/project'; set a team"),
    ({"project": ""}, "project must be text of 1 to 128 characters, got ''"),
    ({"init_timeout_s": 0}, r"init_timeout_s must be .* in \(0, 86400\] or inf, got 0; .*offline"),
    ({"init_timeout_s": "x"}, "init_timeout_s must be a number .*, got 'x'"),
    ({"notes": 2026}, "notes must be text or null, got 2026; quote a number twice"),
    ({"entity": 0}, "entity must be text or null, got 0"),
    ({"project": None}, "project must be text .*, got None"),
    ({"histograms": 7}, "histograms must be true or false, got 7"),
    ({"dense_weights": "maybe"}, "dense_weights must be true or false, got 'maybe'"),
    ({"tags": "mine"}, r"tags must be a list of text .*, got 'mine'; write it as a list: \[mine\]"),
    ({"tags": ["x" * 65]}, "tags must be a list of text of 1 to 64 characters"),
    ({"artifacts": "masks"}, "artifacts must be a list .* got 'masks'; write it as a list"),
    ({"artifacts": ["weights"]}, "one of dense, masks, records, got .'weights'."),
)
def test_wandb_refuses_what_would_fail_later(wrong, message) -> None:
    with pytest.raises(ValueError, match=message):
        Wandb(**wrong)


def test_wandb_conf_has_the_defaults_of_the_class() -> None:
    values = yaml.safe_load((CONF / "wandb.yaml").read_text())
    assert values.pop("_target_") == f"{Wandb.__module__}.{Wandb.__name__}"
    lists = {name: tuple(values[name]) for name in ("tags", "artifacts")}
    assert Wandb(**values | lists) == Wandb()
    assert yaml.safe_load((CONF / "none.yaml").read_text()) == {
        "_target_": f"{NoTracking.__module__}.{NoTracking.__name__}"
    }
