"""Tests whole runs with n:m: one level of n / m in every layer, on ranks and when cut off."""

import re
from pathlib import Path

import pytest
import torch
from command import only_run, records_of, run_folders, run_main
from cutting import EVERY_2, RUN, cut_and_restarted
from forked_ranks import harness_on_ranks
from torch import Tensor

import harness
from harness.run_folder.records import Record
from harness.training.loop import Loop

# 8-32-32-4: 1,408 weights. Without a schedule, which structure=n_m chooses.
TINY = (
    "data=blobs", "model=mlp", "training.epochs=1", "retraining.epochs=1",
    "calibration.samples=64", "tracking=none", "structure=n_m",
)  # fmt: skip


def finished(monkeypatch: pytest.MonkeyPatch, runs: Path, *overrides: str) -> list[Record]:
    assert run_main(monkeypatch, *TINY, *overrides, f"output_dir={runs}") == 0
    return records_of(only_run(runs))


def kept_of_groups(mask: Tensor, m: int) -> list[int]:
    return mask.view(-1, m).sum(dim=1).unique().tolist()


@pytest.mark.parametrize(
    ("n", "m", "saliency"), [(2, 4, "magnitude"), (1, 4, "sparsegpt"), (3, 4, "wanda")]
)
def test_a_run_prunes_every_layer_once_to_n_of_m(tmp_path, monkeypatch, n, m, saliency) -> None:
    asked = (f"structure.n={n}", f"structure.m={m}", f"saliency={saliency}")
    dense, pruned, last = finished(monkeypatch, tmp_path, *asked)
    assert (dense.level, pruned.level, last.level) == (0, 1, 1)
    assert last.density == pruned.density == pruned.requested_density == n / m
    assert dense.parameters - last.parameters == 1408 * (m - n) // m
    assert set(last.layers.values()) == {n / m}
    assert last.label == f"{saliency} / n_m / uniform"
    model, masks = harness.load(only_run(tmp_path))
    assert all(kept_of_groups(mask, m) == [n] for mask in masks.values())
    assert not any(model.get_parameter(name)[~mask].any() for name, mask in masks.items())


@pytest.mark.parametrize("control", ["random", "magnitude", "shuffled"])
def test_a_control_keeps_n_of_m_too(tmp_path, monkeypatch, control) -> None:
    finished(monkeypatch, tmp_path, f"control={control}", "saliency=random", "finetune=none")
    _, masks = harness.load(only_run(tmp_path))
    assert all(kept_of_groups(mask, 4) == [2] for mask in masks.values())


@pytest.mark.parametrize(
    "schedule",
    [
        ("schedule=one_shot", "schedule.final=0.5", "schedule.rounds=3"),
        ("schedule=constant", "schedule.final=0.5", "schedule.levels=2", "mask_updates=soft"),
        ("schedule=explicit", "schedule.values=[0.5]"),
        ("schedule=ac_dc", "schedule.final=0.5", "prune_at=during_training", "gradual.interval=1",
         "gradual.last_step=2"),
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_schedules_of_this_density_fit(tmp_path, monkeypatch, schedule) -> None:
    assert finished(monkeypatch, tmp_path, *schedule)[-1].density == 0.5
    _, masks = harness.load(only_run(tmp_path))
    assert all(kept_of_groups(mask, 4) == [2] for mask in masks.values())


FIXED = r"structure\.n=2 of structure\.m=4 keep 0\.5 in each layer at every level"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("schedule.final=0.3",), rf"schedule\.final=0\.3 asks .* 0\.3 at level 1, but {FIXED}"),
        (("schedule=geometric",), rf"schedule\.final=0\.05 asks .* 0\.549\d* at level 1.*{FIXED}"),
        (("schedule=explicit", "schedule.values=[0.5,0.25]"), rf"0\.25 at level 2, but {FIXED}"),
        (("schedule=one_shot", "schedule.final=1"), rf"schedule\.final=1\.?0? asks .*{FIXED}"),
        (("allocation=erk",), r"allocation Erk gives .* NM keeps 2 of 4 inputs in each; use all"),
        (("allocation.min_units=100",), r"keeps 100 of 128 weights of fc3.*; leave .*min_units"),
        (("allocation.min_units=128",), r"keeps 128 of 128 weights of fc3.*; leave .*min_units"),
        (("structure.m=3",), r"structure\.m=3 does not divide the 8 inputs of fc1; .*fc1,fc2,fc3"),
        (("structure.n=4",), r"structure\.n must be below m=4, got 4"),
        (("mask_updates=rigl",), r"mask_updates=rigl .*structure=n_m keeps n of m inputs"),
        (("saliency=fpgm",), r"saliency FPGM scores whole units, but structure NM"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_does_not_fit_is_one_line_before_training(
    tmp_path, monkeypatch, capfd, overrides, message
) -> None:
    assert run_main(monkeypatch, *TINY, *overrides, f"output_dir={tmp_path}") == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert re.search(message, line), line
    assert run_folders(tmp_path) == []


def test_an_experiment_with_a_density_of_its_own_takes_that_of_the_structure(
    tmp_path, monkeypatch
) -> None:
    fixed = ("schedule=n_m", "schedule.final=null", "allocation=uniform", "~schedule.levels")
    last = finished(
        monkeypatch, tmp_path, "experiment=lottery_ticket", "~allocation.rates", *fixed
    )[-1]
    assert (last.level, last.density) == (1, 0.5) and set(last.layers.values()) == {0.5}


def test_an_excluded_layer_need_not_divide(tmp_path, monkeypatch) -> None:
    wide = ("model.hidden=[12]", "structure.n=1", "structure.m=8", "exclude=[last]")
    last = finished(monkeypatch, tmp_path, *wide)[-1]
    assert last.density == 1 / 8 and last.density_of.startswith("weights, without fc2")


def test_two_ranks_keep_the_weights_of_one(tmp_path, monkeypatch) -> None:
    asked = ("saliency=sparsegpt", "dtype=float64", "training.epochs=0", "finetune=none")
    done = harness_on_ranks(2, *TINY, *asked, f"output_dir={tmp_path}/two")
    assert done.returncode == 0, done.stderr
    one, two = (
        finished(monkeypatch, tmp_path / "one", *asked),
        records_of(only_run(tmp_path / "two")),
    )
    assert one[-1].masks == two[-1].masks != "" and two[-1].density == 0.5


def test_a_run_that_is_cut_off_goes_on_with_the_same_groups(tmp_path, monkeypatch) -> None:
    asked = ("structure=n_m", "schedule=constant", "schedule.final=0.5")
    assert run_main(monkeypatch, *RUN, *asked, f"output_dir={tmp_path}/whole") == 0
    whole = (only_run(tmp_path / "whole") / "records.jsonl").read_bytes()
    folder = cut_and_restarted(tmp_path / "cut", Loop, "_update", 13, False, EVERY_2, *asked)
    assert (folder / "records.jsonl").read_bytes() == whole
    _, masks = harness.load(folder, trust="parts")
    assert all(kept_of_groups(mask, 4) == [2] for mask in masks.values())
    assert torch.cat([mask.flatten() for mask in masks.values()]).float().mean() == 0.5
