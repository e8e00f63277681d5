"""Tests runs whose LayerNorms take their statistics over the units that pruning leaves."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from command import only_run, records_of, run_main
from cutting import Cut, cut
from forked_ranks import harness_on_ranks
from torch import Tensor

from harness import load
from harness.pruning.removal import living
from harness.training.loop import Loop

RUN = (
    "model=char_transformer", "model.width=8", "model.heads=2", "model.depth=1", "data=topics",
    "data.context=8", "data.train=0.01", "data.validation=0.005", "data.test=0.005",
    "task=language_modelling", "training.epochs=1", "retraining.epochs=1", "schedule=geometric",
    "schedule.levels=2", "schedule.final=0.4", "structure=group", "structure.norms=living",
    "allocation.min_units=1", "dtype=float64", "calibration.samples=16", "tracking=none",
    "checkpoint.every_steps=1",
)  # fmt: skip
STEPS = 4  # an epoch


@pytest.fixture(scope="module", name="end")
def fixture_end(tmp_path_factory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield run(monkeypatch, tmp_path_factory.mktemp("end"), "compact=end")


def run(monkeypatch, folder: Path, *more: str) -> Path:
    assert run_main(monkeypatch, *RUN, *more, f"output_dir={folder}") == 0
    return only_run(folder)


def test_smaller_and_masked_networks_train_to_the_same_masks(tmp_path, monkeypatch, end) -> None:
    levels = run(monkeypatch, tmp_path, "compact=levels", "rehearse=false")
    small, _ = load(levels)
    assert len(small.norm.weight) < 8  # the stream is narrower
    for one, other in zip(records_of(levels), records_of(end), strict=True):
        assert (one.masks, one.parameters, one.norms) == (
            other.masks,
            other.parameters,
            "living",
        )
        assert one.loss == pytest.approx(other.loss, rel=1e-9)
        assert one.label == "magnitude / group / global_ranking (living norms)"


def test_what_is_delivered_counts_the_units_left_alone(end) -> None:
    inputs = torch.arange(16).view(2, 8)
    (small, _), (masked, masks) = load(end), load(end, dense=True)
    assert not masks["norm.weight"].all()
    assert torch.allclose(small(inputs), masked(inputs), rtol=1e-12)
    for module in masked.modules():
        module._forward_hooks.clear()
    assert not torch.allclose(small(inputs), masked(inputs), rtol=1e-3)


def test_a_run_that_was_cut_off_ends_in_the_same_bytes(tmp_path, end) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, Loop, "_update", STEPS + 2, after=True)
        with pytest.raises(Cut):
            run(monkeypatch, tmp_path, "compact=end", "rehearse=false")
    with pytest.MonkeyPatch.context() as monkeypatch:
        again = run(monkeypatch, tmp_path, "compact=end", "rehearse=false")
    for file in ("records.jsonl", "masks.safetensors", "model.safetensors"):
        assert (again / file).read_bytes() == (end / file).read_bytes()


def test_two_ranks_keep_what_one_keeps(tmp_path, end) -> None:
    done = harness_on_ranks(2, *RUN, "compact=end", "rehearse=false", f"output_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    two, one = records_of(only_run(tmp_path))[-1], records_of(end)[-1]
    assert (one.masks, one.parameters) == (two.masks, two.parameters)
    assert two.loss == pytest.approx(one.loss, rel=1e-6)


def test_curves_of_single_layers_count_the_units_left_too(tmp_path, monkeypatch) -> None:
    seen: list[dict[str, Tensor]] = []
    found = living.indices_left
    monkeypatch.setattr(living, "indices_left", lambda *a: seen.append(found(*a)) or seen[-1])
    more = ("allocation=sensitivity", "allocation.grid=[1,0.5]", "schedule.levels=1")
    run(monkeypatch, tmp_path, *more, "schedule.final=0.7", "rehearse=false")
    assert any(len(left.get("norm", ())) == 4 for left in seen)
