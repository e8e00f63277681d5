"""Tests runs of the character transformer.

They are pruned, cut off, on two ranks, and under several saliencies.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from command import only_run, records_of, run_main
from cutting import Cut, cut
from forked_ranks import harness_on_ranks

import harness
from harness.metrics.macs import count_macs
from harness.run_folder.records import Record

# 4 steps an epoch
RUN = (
    "model=char_transformer", "model.width=8", "model.heads=2", "model.depth=1",
    "data=topics", "data.context=16", "data.train=0.02", "data.validation=0.01", "data.test=0.01",
    "task=language_modelling", "training.epochs=2", "retraining.epochs=1", "schedule=one_shot",
    "schedule.final=0.5", "calibration.samples=32", "tracking=none",
    "training.optimizer.lr=0.02", "retraining.optimizer.lr=0.02",
)  # fmt: skip


@pytest.fixture(scope="module", name="whole")
def fixture_whole(tmp_path_factory) -> Iterator[Path]:
    """Yields the folder of a run of one rank that nothing interrupted."""
    runs = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *RUN, "model.dropout=0.1", f"output_dir={runs}") == 0
    yield only_run(runs)


def last(folder: Path) -> Record:
    return records_of(folder)[-1]


def test_a_run_prunes_to_the_asked_density_and_counts_every_position(whole) -> None:
    dense, pruned, finetuned = records_of(whole)
    # 4 x 8x8, two 8x32 and 97x8 weights, at 16 positions
    weights = 4 * 64 + 2 * 256 + 97 * 8
    # q k^T and attention x v, of 16 x 16 positions of width 8, which pruning leaves as they are
    attention = 2 * 16 * 16 * 8
    assert dense.macs == 16 * weights + attention and dense.parameters > weights
    assert pruned.density == finetuned.density == 0.5
    whole_network = 16 * weights + attention
    assert pruned.speedup == pytest.approx(whole_network / (8 * weights + attention), abs=0.01)
    assert dense.loss and finetuned.loss
    assert finetuned.perplexity == math.exp(finetuned.loss)
    assert max(dense.loss, finetuned.loss) < 4.0  # ln 97 is 4.57: it has learnt a little


@pytest.mark.parametrize("step", [6, 10])
def test_a_run_that_was_cut_off_ends_in_the_same_records(tmp_path, whole, step) -> None:
    from harness.training.loop import Loop

    run = (*RUN, "model.dropout=0.1", "checkpoint.every_steps=1", f"output_dir={tmp_path}")
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, Loop, "_update", step, False)
        with pytest.raises(Cut):
            run_main(monkeypatch, *run)
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *run) == 0
    records = (only_run(tmp_path) / "records.jsonl").read_bytes()
    assert records == (whole / "records.jsonl").read_bytes()


def test_two_ranks_give_the_masks_and_the_loss_of_one(tmp_path) -> None:
    for ranks in (1, 2):
        done = harness_on_ranks(ranks, *RUN, f"output_dir={tmp_path}/{ranks}")
        assert done.returncode == 0, done.stderr
    one, two = (last(only_run(tmp_path / f"{ranks}")) for ranks in (1, 2))
    assert one.masks == two.masks
    assert two.loss == pytest.approx(one.loss, rel=1e-4)


def test_a_run_prunes_heads_and_writes_the_network_without_them(tmp_path, monkeypatch) -> None:
    heads = ("structure=attention_head", "allocation.min_units=1", "compact=end")
    assert run_main(monkeypatch, *RUN, *heads, f"output_dir={tmp_path}") == 0
    dense, _, finetuned = records_of(only_run(tmp_path))
    assert finetuned.density == 0.5 and finetuned.density_of == "heads by their parameters"
    # Of 2 heads 1 stays: half of the rows of query, key and value, and half of the columns.
    assert dense.parameters - finetuned.parameters == 3 * 4 * 9 + 8 * 4
    attention = harness.load(only_run(tmp_path))[0].blocks[0].attention
    assert attention.heads == 1 and attention.output.in_features == 4


@pytest.mark.parametrize("saliency", ["weight_gradient", "wanda"])
@pytest.mark.parametrize("structure", ["element", "neuron"])
def test_saliencies_that_look_at_text_prune_weights_and_neurons(
    tmp_path, saliency, structure, monkeypatch
) -> None:
    # The classifier has half of the weights, and no neuron of it goes. Of 2 heads 1 stays.
    parts = (f"saliency={saliency}", f"structure={structure}", "schedule.final=0.5")
    status = run_main(monkeypatch, *RUN, *parts, "finetune=none", f"output_dir={tmp_path}")
    assert status == 0
    assert last(only_run(tmp_path)).density == pytest.approx(0.5, abs=0.04)


def test_a_speed_up_by_heads_counts_their_products_and_is_that_of_the_smaller_network(
    tmp_path, monkeypatch
) -> None:
    heads = ("model.heads=8", "structure=attention_head", "allocation.min_units=1", "compact=end")
    speedup = ("schedule.unit=speedup", "schedule.final=1.25", "training.epochs=0", "finetune=none")
    assert run_main(monkeypatch, *RUN, *heads, *speedup, f"output_dir={tmp_path}") == 0
    pruned = last(only_run(tmp_path))
    small, _ = harness.load(only_run(tmp_path))
    left = count_macs(small, torch.zeros(1, 16))
    assert pruned.macs == left.dense
    head = 16 * 4 * 8 + 2 * 16 * 16  # query, key, value, output; q k^T and attention x v
    dense = 16 * (4 * 64 + 2 * 256 + 97 * 8) + 8 * 2 * 16 * 16
    assert left.dense == dense - 8 * head + left.activations // (2 * 16 * 16) * head
    assert abs(pruned.macs - dense / 1.25) <= head / 2
