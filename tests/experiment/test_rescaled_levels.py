"""With compact=levels an RMSNorm that has lost units keeps its weights and scales its output."""

from pathlib import Path

import pytest
import torch
from command import only_run, records_of, run_main
from cutting import Cut, cut
from whole_runs import SMALL, whole_run

from harness import load
from harness.training.loop import Loop

RUN = (
    *SMALL, "model._target_=parts.RmsNormed", "structure=neuron", "allocation=uniform",
    "schedule=geometric", "schedule.levels=2", "schedule.final=0.4", "dtype=float64",
    "allocation.min_units=1", "retraining.epochs=2",
)  # fmt: skip
SGD = ("training=sgd", "training.optimizer.momentum=0.9", "training.optimizer.weight_decay=0.1")
ADAMW = ("training=adamw", "training.clip_norm=0.1", "training.optimizer.weight_decay=0.5")


def run(folder: Path, *more: str) -> Path:
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *RUN, *more, f"output_dir={folder}") == 0
    return only_run(folder)


@pytest.mark.parametrize("recipe", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_smaller_and_masked_networks_train_to_the_same_masks(tmp_path, recipe) -> None:
    first, *keys = recipe
    again = [first.replace("training", "training@retraining")]
    again += [key.replace("training", "retraining", 1) for key in keys]
    levels, end = (
        run(tmp_path / when, f"compact={when}", "rehearse=false", *recipe, *again)
        for when in ("levels", "end")
    )
    for one, other in zip(records_of(levels), records_of(end), strict=True):
        assert one.masks == other.masks
        assert one.loss == pytest.approx(other.loss, rel=1e-9)
    small, same = load(levels, "parts")[0], load(end, "parts")[0]
    for (name, weight), other in zip(small.named_parameters(), same.parameters(), strict=True):
        assert torch.allclose(weight, other, rtol=1e-6), name
    assert small[1].normalized_shape == (3,) and small[1].eps == pytest.approx(0.1 * 6 / 3)
    assert not small[1]._forward_hooks  # its weight has the factor


def test_a_rewound_norm_has_the_dense_weights_at_what_is_left(tmp_path) -> None:
    more = ("compact=levels", "finetune=weight_rewind", "finetune.epoch=1")
    whole = whole_run(tmp_path, *RUN[len(SMALL) :], *more)
    _, start = whole.starts[1]
    dense, masks = whole.levels.context.dense, whole.masks[1, "pruned"]
    (begin,) = whole.levels.context.experiment.finetune.dense_checkpoints_needed(2)
    kept = whole.levels.state.cut  # of level 2
    assert kept.scales == {"1.weight": 2**0.5, "4.weight": 3**0.5}
    assert len(masks["1.weight"]) == len(start["1.weight"]) == 4
    assert set(start["1.weight"].tolist()) <= set(dense.at(begin)["1.weight"].tolist())


def test_a_run_that_was_cut_off_ends_in_the_same_bytes(tmp_path) -> None:
    whole = run(tmp_path / "whole", "compact=levels", "rehearse=false")
    more = ("compact=levels", "rehearse=false", "checkpoint.every_steps=1")
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, Loop, "_update", 8, after=True)
        with pytest.raises(Cut):
            run_main(monkeypatch, *RUN, *more, f"output_dir={tmp_path / 'cut'}")
    again = run(tmp_path / "cut", *more)
    for file in ("records.jsonl", "model.safetensors", "compact/model.safetensors"):
        assert (again / file).read_bytes() == (whole / file).read_bytes()


def test_dimensions_of_queries_go_at_each_level_as_at_the_end(tmp_path) -> None:
    text = (
        "model=char_transformer", "model.width=8", "model.heads=1", "model.depth=1",
        "data=topics", "data.context=8", "data.train=0.01", "data.validation=0.005",
        "data.test=0.005", "task=language_modelling", "training.epochs=1", "retraining.epochs=1",
        "calibration.samples=16", "tracking=none", "structure=group", "schedule=geometric",
        "schedule.levels=2", "schedule.final=0.4", "allocation=uniform", "allocation.min_units=1",
        "dtype=float64", "retraining.optimizer.weight_decay=0.1", "rehearse=false",
    )  # fmt: skip
    found = []
    for when in ("levels", "end"):
        with pytest.MonkeyPatch.context() as monkeypatch:
            folder = f"output_dir={tmp_path / when}"
            assert run_main(monkeypatch, *text, f"compact={when}", folder) == 0
        found.append(only_run(tmp_path / when))
    for one, other in zip(*map(records_of, found), strict=True):
        assert one.masks == other.masks
        assert one.loss == pytest.approx(other.loss, rel=1e-9)
    small, same = (load(folder)[0] for folder in found)
    assert small.blocks[0].attention.query.out_features == 3
    assert torch.allclose(small(torch.zeros(1, 8)), same(torch.zeros(1, 8)), rtol=1e-9)
