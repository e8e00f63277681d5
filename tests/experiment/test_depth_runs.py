"""Tests runs that prune whole residual blocks, masked and cut out."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from command import only_run, records_of, run_main
from cutting import Cut, cut
from forked_ranks import harness_on_ranks
from hydra.errors import InstantiationException
from torch import nn
from whole_runs import SMALL, whole_run

from harness import load
from harness.run_folder.curve_records import read
from harness.training.loop import Loop

RUN = (
    *SMALL, "model._target_=parts.Residuals", "model.hidden=[3,4,5,6]", "structure=depth",
    "schedule=geometric", "schedule.levels=2", "schedule.final=0.3", "dtype=float64",
    "retraining.epochs=2", "retraining.optimizer.weight_decay=0.1", "checkpoint.every_steps=1",
)  # fmt: skip
FILES = ("records.jsonl", "masks.safetensors", "model.safetensors", "compact/model.safetensors")


def run(folder: Path, *more: str) -> Path:
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *RUN, *more, f"output_dir={folder}") == 0
    return only_run(folder)


@pytest.fixture(scope="module", name="levels")
def fixture_levels(tmp_path_factory) -> Iterator[Path]:
    yield run(tmp_path_factory.mktemp("levels"), "compact=levels")


def test_networks_without_blocks_and_masked_ones_train_to_the_same_masks(tmp_path, levels) -> None:
    end = run(tmp_path, "compact=end", "rehearse=false")
    for one, other in zip(records_of(levels), records_of(end), strict=True):
        assert (one.masks, one.parameters, one.macs) == (
            other.masks, other.parameters, other.macs,
        )  # fmt: skip
        assert one.loss == pytest.approx(other.loss, rel=1e-9)
    inputs = torch.randn(5, 8, dtype=torch.float64)
    small, masked = load(levels, "parts")[0], load(end, "parts", dense=True)[0]
    gone = [name for name, module in small.named_modules() if type(module) is nn.Identity]
    assert 2 <= len(gone) < 4
    assert torch.allclose(small(inputs), masked(inputs), rtol=1e-9)
    last = records_of(end)[-1]
    assert last.parameters == sum(p.numel() for p in small.parameters())
    assert not any(masked.get_parameter(f"{name}.one.weight").any() for name in gone)


def test_a_run_that_was_cut_off_ends_in_the_same_bytes(tmp_path, levels) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, Loop, "_update", 8, after=True)  # in level 1
        with pytest.raises(Cut):
            run(tmp_path, "compact=levels", "rehearse=false")
    again = run(tmp_path, "compact=levels", "rehearse=false")
    for file in FILES:
        assert (again / file).read_bytes() == (levels / file).read_bytes()


def test_two_ranks_cut_what_one_cuts(tmp_path, levels) -> None:
    more = ("compact=levels", "rehearse=false", f"output_dir={tmp_path}")
    done = harness_on_ranks(2, *RUN, *more)
    assert done.returncode == 0, done.stderr
    one, two = (records_of(folder)[1] for folder in (levels, only_run(tmp_path)))
    assert (one.masks, one.parameters) == (two.masks, two.parameters)


def test_blocks_start_retraining_from_rewound_weights(tmp_path) -> None:
    more = ("compact=levels", "finetune=weight_rewind", "finetune.epoch=1")
    whole = whole_run(tmp_path, *RUN[len(SMALL) :], *more)
    blocks = whole.levels.state.cut.blocks
    assert blocks and not any(name.startswith(blocks) for name in whole.starts[2][1])
    assert whole.record(2, "finetuned").layers[f"{blocks[0]}.one.weight"] == 0


def test_each_block_is_pruned_alone_for_its_curve(tmp_path, monkeypatch) -> None:
    grid = ("sensitivity.grid=[0.5]", "compact=end", "rehearse=false", f"output_dir={tmp_path}")
    assert run_main(monkeypatch, *RUN, *grid, command="sensitivity") == 0
    (file,) = tmp_path.glob("single/sensitivity/*/sensitivity.jsonl")
    kept = {(line.layer.partition(" ")[0], line.density): line.kept for line in read(file)}
    assert len(kept) == 8 and kept["3.one.weight", 1.0] == 1 and kept["3.one.weight", 0.5] == 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["allocation=uniform"], "a layer of structure Depth has one; use allocation=global_rank"),
        (["schedule.final=0.001"], "all 4 blocks would go, of 1.one.weight, 2.one.weight, 3.one"),
        (["mask_updates=soft"], "structure=depth removes blocks, of which none comes back"),
        (["model._target_=harness.models.mlp.Mlp"], "structure=depth has nothing to prune: no mod"),
        (["saliency=fpgm", "allocation=global_ranking"], "its units are not rows; use structure"),
    ],
    ids=lambda o: o[0] if isinstance(o, list) else "",
)
def test_what_cannot_lose_blocks_is_refused_before_training(tmp_path, overrides, message) -> None:
    with pytest.raises((ValueError, InstantiationException), match=message):
        whole_run(tmp_path, *RUN[len(SMALL) :], *overrides)
    assert not list(tmp_path.iterdir())
