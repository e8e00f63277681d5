"""A door: a transformer is pruned block by block, each on inputs from the pruned blocks before."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from command import only_run, records_of, run_main
from cutting import Cut, cut
from forked_ranks import harness_on_ranks
from hydra.errors import InstantiationException
from torch import Tensor, nn
from whole_runs import whole_run

from harness.experiment.recorder import Recorder
from harness.pruning.pruner import Pruner
from harness.run_folder.outcome import MASKS, MODEL
from harness.saliency.base import CalibrationData
from harness.saliency.sparsegpt import SparseGpt

BLOCKS = 3
RUN = (
    "model=char_transformer", "model.width=8", "model.heads=2", f"model.depth={BLOCKS}",
    "data=topics", "data.context=8", "data.train=0.01", "data.validation=0.01", "data.test=0.01",
    "task=language_modelling", "training.epochs=1", "retraining.epochs=1", "schedule=one_shot",
    "schedule.final=0.5", "calibration.samples=32", "calibration.balanced=false", "tracking=none",
    "exclude=[last]",
)  # fmt: skip
IN_ORDER = (*RUN, f"+pruning_order._target_={__name__}.BlockByBlock")
SPARSEGPT = ("method=sparsegpt", "allocation=uniform")


@dataclass(frozen=True)
class BlockByBlock:
    """The entries of a ModuleList or Sequential, each of which is given what the last returns."""

    blocks: str = "blocks"

    def parts(self, model: nn.Module) -> Sequence[str]:
        return [f"{self.blocks}.{number}" for number in range(len(self._list(model)))]

    def first_inputs(self, model: nn.Module, inputs: list[Tensor]) -> list[Tensor]:
        seen: list[Tensor] = []
        hook = self._list(model)[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        try:
            for batch in inputs:
                model(batch)
        finally:
            hook.remove()
        return seen

    def next_inputs(self, model: nn.Module, part: str, inputs: list[Tensor]) -> list[Tensor]:
        return [model.get_submodule(part)(batch) for batch in inputs]

    def _list(self, model: nn.Module) -> Any:
        return model.get_submodule(self.blocks)


class Halves(BlockByBlock):
    """Leaves the last block out."""

    def parts(self, model: nn.Module) -> Sequence[str]:
        return super().parts(model)[:-1]


def finished(folder: Path, *overrides: str) -> Path:
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *overrides, f"output_dir={folder}") == 0
    return only_run(folder)


def test_each_block_is_solved_on_the_inputs_that_the_pruned_ones_before_leave(tmp_path) -> None:
    whole = whole_run(tmp_path, *IN_ORDER, *SPARSEGPT, small=())
    context = whole.levels.context
    model = context.workload.initial_model().eval()
    model.load_state_dict(whole.networks[0, "dense"])
    data = context.workload.calibration(
        context.experiment.calibration, context.experiment.training.batch_size
    )
    hidden, blocks = [model[0](inputs) for inputs, _ in data.batches], model.get_submodule("blocks")
    masks, left = whole.masks[1, "pruned"], whole.networks[1, "pruned"]
    with torch.no_grad():
        for number in range(BLOCKS):
            block, name = blocks[number], f"blocks.{number}."
            labels = [labels for _, labels in data.batches]
            asked = CalibrationData(block, list(zip(hidden, labels, strict=True)))
            weights = {n: block.get_parameter(n).detach() for n in asked.weight_names}
            keep = {n: int(masks[name + n].sum()) for n in weights}
            assert sum(keep.values()) == round(sum(w.numel() for w in weights.values()) / 2)
            found, moved = SparseGpt().solve(weights, keep, SparseGpt().statistics(asked))
            for n, weight in weights.items():
                assert found[n].equal(masks[name + n])
                assert moved[n].equal(left[name + n])
                weight.copy_(moved[n])
            hidden = [block(one) for one in hidden]


def test_a_saliency_is_asked_for_each_block_alone_with_the_inputs_of_that_block(
    tmp_path, monkeypatch
) -> None:
    seen: list[CalibrationData] = []
    statistics = SparseGpt.statistics
    monkeypatch.setattr(SparseGpt, "statistics", lambda s, d: (seen.append(d), statistics(s, d))[1])
    whole = whole_run(tmp_path, *IN_ORDER, *SPARSEGPT, small=())
    blocks = whole.levels.state.model.get_submodule("blocks")
    assert [data.module for data in seen] == list(blocks.children())
    for data in seen:
        assert (
            data.loss is None and data.weight_names == tuple(n.split(".", 2)[2] for n in SIZES)[:6]
        )
        assert {inputs.shape[1:] for inputs, _ in data.batches} == {(8, 8)}


def test_only_the_first_block_comes_out_as_if_all_had_been_measured_at_once(tmp_path) -> None:
    one, other = (whole_run(tmp_path, *run, *SPARSEGPT, small=()) for run in (IN_ORDER, RUN))
    values, batch_size = (run.networks[1, "pruned"] for run in (one, other))
    equal = {name: value.equal(batch_size[name]) for name, value in values.items()}
    for name in one.masks[1, "pruned"]:
        assert equal[name] == (name.startswith("blocks.0.") or "bias" in name)


@pytest.mark.parametrize("call", range(1, BLOCKS))
def test_killed_between_two_blocks_it_goes_on_with_the_next_one(tmp_path, call) -> None:
    run = (*IN_ORDER, *SPARSEGPT)
    undisturbed = finished(tmp_path / "whole", *run)
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, Recorder, "save_between", call, after=True)
        with pytest.raises(Cut):
            run_main(monkeypatch, *run, f"output_dir={tmp_path / 'cut'}")
    decided = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        propose = Pruner.propose
        monkeypatch.setattr(
            Pruner,
            "propose",
            lambda self, *a: (decided.append(list(a[2])[0]), propose(self, *a))[1],
        )
        assert run_main(monkeypatch, *run, f"output_dir={tmp_path / 'cut'}") == 0
    assert [name[:9] for name in decided] == [f"blocks.{n}." for n in range(call, BLOCKS)]
    again = only_run(tmp_path / "cut")
    for file in ("records.jsonl", MASKS, MODEL):
        assert (again / file).read_bytes() == (undisturbed / file).read_bytes()


class LayerByLayer:
    """Names the hidden layers of an MLP. Activations are left out of the inputs of parts."""

    def parts(self, model: nn.Module) -> Sequence[str]:
        return ["fc1", "fc2"]

    def first_inputs(self, model: nn.Module, inputs: list[Tensor]) -> list[Tensor]:
        return inputs

    def next_inputs(self, model: nn.Module, part: str, inputs: list[Tensor]) -> list[Tensor]:
        return [model.get_submodule(part)(batch) for batch in inputs]


@pytest.mark.parametrize("asked", ["compression", "speedup"])
def test_layers_that_lose_neurons_leave_the_size_that_is_asked_of_the_whole(
    tmp_path, asked
) -> None:
    neurons = ("structure=neuron", "allocation=uniform", "allocation.min_units=1")
    size = ("model.hidden=[60,60]", "schedule=one_shot", "schedule.final=3")
    order = f"+pruning_order._target_={__name__}.LayerByLayer"
    whole = whole_run(tmp_path, *neurons, *size, f"schedule.unit={asked}", order)
    assert getattr(whole.record(1, "pruned"), asked) == pytest.approx(3, rel=0.03)


def test_rounds_go_through_all_blocks_before_the_next_round(tmp_path) -> None:
    folder = finished(tmp_path, *IN_ORDER, "saliency=magnitude", "schedule.rounds=2")
    pruned = records_of(folder)[1]
    by_block = [
        sum(pruned.layers[name] * size for name, size in SIZES.items() if f"blocks.{n}." in name)
        for n in range(BLOCKS)
    ]
    assert by_block == [sum(SIZES.values()) / BLOCKS / 2] * BLOCKS


SIZES = {
    f"blocks.{n}.{layer}.weight": size
    for n in range(BLOCKS)
    for layer, size in {
        **{f"attention.{part}": 64 for part in ("query", "key", "value", "output")},
        **{"fc1": 256, "fc2": 256},
    }.items()
}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("saliency=gradient", "saliency=gradient takes gradients of the loss, but the parts"),
        ("exclude=[]", "but classifier.weight is in none of them; let each weight be in one part"),
        (f"pruning_order._target_={__name__}.Halves", r"blocks.2.*weight is in none of them"),
        ("allocation=sensitivity", "an allocation without curves of the whole model"),
    ],
)
def test_what_cannot_go_part_by_part_is_refused_before_training(tmp_path, override, message):
    with pytest.raises((ValueError, InstantiationException), match=message):
        whole_run(tmp_path, *IN_ORDER, "saliency=magnitude", override, small=())
    assert not list(tmp_path.iterdir())


def test_two_ranks_measure_each_block_on_what_they_have_themselves(tmp_path) -> None:
    run = (*IN_ORDER, *SPARSEGPT, f"output_dir={tmp_path}", "training.epochs=0")
    done = harness_on_ranks(2, *run)
    assert done.returncode == 0, done.stderr
    two = records_of(only_run(tmp_path))
    one = records_of(finished(tmp_path / "one", *run[:-2], "training.epochs=0"))
    assert [r.layers for r in two[:2]] == [r.layers for r in one[:2]]
    assert two[1].density == 0.5
