"""A door: after a level the network has narrower layers of the same names, and goes on so."""

from collections.abc import Iterator

import pytest
import torch
from command import only_run, records_of, run_main
from cutting import Cut, cut
from hydra.errors import InstantiationException
from torch import Tensor, nn
from whole_runs import SMALL, Whole, whole_run

from harness import load
from harness.pruning.compaction import KeptIndices
from harness.training.loop import Loop
from harness.vocabulary.tensors import Tensors

RUN = (
    "model.hidden=[6,5]", "structure=neuron", "allocation=uniform", "schedule=geometric",
    "schedule.levels=2", "schedule.final=0.4", "retraining.epochs=2",
)  # fmt: skip
CUT = (f"+compaction._target_={__name__}.CutNeurons",)
# 8-6-5-4, of which 4 and 3, then 2 and 2 neurons are left.
LEFT = {1: (4, 3), 2: (2, 2)}


class CutNeurons:
    """Neurons of a chain of linear layers, fc1, fc2, ..., whose masks are False."""

    def kept_indices(self, model: nn.Module, masks: Tensors) -> KeptIndices:
        found: dict[str, tuple[Tensor | None, ...]] = {}
        columns = None
        for name in self._layers(model):
            mask = masks.get(f"{name}.bias")
            rows = None if mask is None else mask.nonzero().flatten()
            found |= {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}
            columns = rows
        return found

    def compact(self, model: nn.Module, kept: KeptIndices) -> nn.Module:
        for name in self._layers(model):
            layer = model.get_submodule(name)
            old, dims = layer.get_parameter("weight"), kept[f"{name}.weight"]
            size = [n if i is None else len(i) for n, i in zip(old.shape, dims, strict=True)]
            layer.out_features, layer.in_features = size  # type: ignore[assignment]
            layer.weight = nn.Parameter(old.new_zeros(size))
            layer.bias = nn.Parameter(old.new_zeros(size[0]))
        return model

    def _layers(self, model: nn.Module) -> list[str]:
        return [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]


class CutTooMuch(CutNeurons):
    """Takes the first neuron too, whatever its mask says."""

    def kept_indices(self, model: nn.Module, masks: Tensors) -> KeptIndices:
        first = masks["fc1.bias"].nonzero().flatten()[1:]
        return {
            **super().kept_indices(model, masks),
            "fc1.weight": (first, None),
            "fc1.bias": (first,),
        } | {"fc2.weight": (super().kept_indices(model, masks)["fc2.weight"][0], first)}


@pytest.fixture(scope="module", name="narrow")
def fixture_narrow(tmp_path_factory) -> Iterator[Whole]:
    yield whole_run(tmp_path_factory.mktemp("narrow"), *RUN, *CUT)


@pytest.fixture(scope="module", name="masked")
def fixture_masked(tmp_path_factory) -> Iterator[Whole]:
    yield whole_run(tmp_path_factory.mktemp("masked"), *RUN)


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("stage", ["pruned", "finetuned"])
def test_layers_are_narrower_under_the_same_names(narrow, level, stage) -> None:
    network, (first, second) = narrow.networks[level, stage], LEFT[level]
    assert {name: tuple(value.shape) for name, value in network.items()} == {
        "fc1.weight": (first, 8), "fc1.bias": (first,),
        "fc2.weight": (second, first), "fc2.bias": (second,),
        "fc3.weight": (4, second), "fc3.bias": (4,),
    }  # fmt: skip
    assert narrow.networks[0, "dense"]["fc1.weight"].shape == (6, 8)


def test_the_narrow_network_trains_and_its_optimizer_knows_it(narrow) -> None:
    for level in LEFT:
        steps = narrow.of(level)
        assert len(steps) == 2 * 3
        assert steps[0].new and not steps[-1].new
        assert steps[0].gradients["fc2.weight"].shape == LEFT[level][::-1]
        before, after = (step.weights["fc1.weight"] for step in (steps[0], steps[-1]))
        assert not before.equal(after)


def test_records_count_in_names_and_shapes_of_the_dense_network(narrow, masked) -> None:
    assert narrow.record(0, "dense") == masked.record(0, "dense")
    for level, (first, second) in LEFT.items():
        record = narrow.record(level, "pruned")
        parameters = 9 * first + (first + 1) * second + (second + 1) * 4
        macs = 8 * first + first * second + second * 4
        assert (record.parameters, record.macs) == (parameters, macs)
        assert record.compression == (54 + 35 + 24) / parameters
        assert record.speedup == (48 + 30 + 20) / macs
        # By rows and their biases, as the schedule counts them: 9 of fc1, 7 of fc2.
        assert record.density == (9 * first + 7 * second) / (54 + 35)
        assert record.layers["fc1.weight"] == first / 6
        assert record.layers["fc2.weight"] == first * second / 30
    one, other = narrow.record(1, "pruned"), masked.record(1, "pruned")
    assert (one.masks, one.density) == (other.masks, other.density)
    assert one.loss == pytest.approx(other.loss, rel=1e-5)


def test_training_costs_what_the_narrow_network_multiplies(narrow) -> None:
    record, (first, second) = narrow.record(1, "finetuned"), LEFT[1]
    macs = 8 * first + first * second + second * 4
    assert record.training_flops == 2 * 40 * 3 * 2 * macs  # epochs, samples, passes, 2 per mac


def test_rewound_weights_are_those_of_what_is_left(tmp_path) -> None:
    whole = whole_run(tmp_path, *RUN, *CUT, "finetune=weight_rewind", "finetune.epoch=1")
    _, start = whole.starts[1]
    kept = whole.levels.context.experiment.compaction
    assert kept is not None
    dense = whole.networks[0, "dense"]
    assert start["fc1.weight"].shape == (4, 8) and not start["fc1.weight"].equal(
        dense["fc1.weight"][:4]
    )
    assert whole.record(2, "finetuned").parameters == 2 * 9 + 3 * 2 + 3 * 4


@pytest.mark.parametrize("step", [8, 13, 17])
def test_a_narrow_run_that_was_cut_off_ends_in_the_same_bytes(tmp_path, step) -> None:
    # 3 steps an epoch: 6 dense, 6 of level 1, 6 of level 2.
    run = (*SMALL, *RUN, *CUT, "checkpoint.every_steps=1")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *run, f"output_dir={tmp_path / 'whole'}") == 0
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, Loop, "_update", step, after=True)
        with pytest.raises(Cut):
            run_main(monkeypatch, *run, f"output_dir={tmp_path / 'cut'}")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *run, f"output_dir={tmp_path / 'cut'}") == 0
    one, other = only_run(tmp_path / "whole"), only_run(tmp_path / "cut")
    for file in ("records.jsonl", "masks.safetensors", "model.safetensors"):
        assert (one / file).read_bytes() == (other / file).read_bytes()


def test_what_is_delivered_computes_as_the_narrow_network_did(tmp_path, capsys) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *SMALL, *RUN, *CUT, f"output_dir={tmp_path}") == 0
    assert "no checkpoint holds it" not in capsys.readouterr().err
    network, _ = load(only_run(tmp_path))
    assert int(network.get_parameter("fc1.weight").count_nonzero()) == 2 * 8
    assert int(network.get_parameter("fc3.weight").count_nonzero()) == 2 * 4
    assert records_of(only_run(tmp_path))[-1].parameters == 2 * 9 + 3 * 2 + 3 * 4
    assert network(torch.zeros(1, 8)).shape == (1, 4)


def test_a_compaction_that_cuts_what_counts_is_refused(tmp_path) -> None:
    too_much = f"+compaction._target_={__name__}.CutTooMuch"
    with pytest.raises(ValueError, match="CutTooMuch changes the model: outputs"):
        whole_run(tmp_path, *RUN, too_much)


@pytest.mark.parametrize(
    "override",
    ["mask_updates=soft", "penalty=growing_l2", "prune_at=during_training"],
    ids=lambda o: o,
)
def test_what_needs_the_removed_units_again_is_refused_before_training(tmp_path, override) -> None:
    with pytest.raises(
        (ValueError, InstantiationException), match="compaction=CutNeurons removes pruned units"
    ):
        whole_run(tmp_path, *RUN, *CUT, "retraining.epochs=20", override)
    assert not list(tmp_path.iterdir())
