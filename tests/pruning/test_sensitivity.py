"""Each layer pruned alone: curves that can be computed by hand, and who is given them."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
import torch
from command import TINY
from silent import ME, Silent
from torch import Tensor, nn

from harness.allocation.base import Layers, SensitivityCurve
from harness.allocation.uniform import Uniform
from harness.distributed import Ranks
from harness.experiment import runner
from harness.experiment.recorder import Recorder
from harness.groups.units import masks_of
from harness.launch.compose import compose_config
from harness.launch.execute import build
from harness.pruning.layer_curves import SensitivityCurves, check_grid, measure_curves
from harness.pruning.masks import MaskStore
from harness.pruning.pruner import Pruner
from harness.pruning.reader import Calibration
from harness.saliency.magnitude import Magnitude
from harness.structure.element import Element
from harness.structure.neuron import Neuron
from harness.training.evaluation import EvaluationResult
from harness.vocabulary.tensors import Counts, local_mean

NO_DATA = Calibration([], lambda outputs, labels: outputs.sum(), local_mean)


def linear(weight: list[list[float]], bias: list[float] | None = None) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight), bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias))
    return layer


def two_layers() -> nn.Module:
    return nn.Sequential(linear([[1.0, -2.0], [3.0, 4.0]]), linear([[5.0, 6.0]]))


def at_ones(network: nn.Module, inputs: int) -> EvaluationResult:
    """Returns the single output for inputs of ones as the loss; top-1 is 1 if it is positive."""
    with torch.no_grad():
        output = float(network(torch.ones(1, inputs)))
    return EvaluationResult(float(output > 0), 1.0, output)


def points(curves: SensitivityCurves, name: str) -> list[tuple[float, int, float]]:
    return [(point.density, point.kept, point.measured.loss) for point in curves[name]]


def magnitudes(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().abs() for name, p in network.named_parameters()}


def test_each_layer_is_pruned_alone() -> None:
    network = two_layers()

    curves = measure_curves(
        network, magnitudes(network), dict, [0.25, 0.5], lambda: at_ones(network, 2)
    )

    # Hidden (1 - 2, 3 + 4) = (-1, 7); output 5 * -1 + 6 * 7 = 37.
    # First layer: {3, 4} give (0, 7) and 42; {4} gives (0, 4) and 24.
    assert points(curves, "0.weight") == [(1.0, 4, 37.0), (0.5, 2, 42.0), (0.25, 1, 24.0)]
    # Second layer: {6} gives 6 * 7 = 42; round(0.25 * 2) keeps none.
    assert points(curves, "1.weight") == [(1.0, 2, 37.0), (0.5, 1, 42.0), (0.25, 0, 0.0)]
    assert [point.measured.top1 for point in curves["1.weight"]] == [1.0, 1.0, 0.0]


def test_a_density_above_what_is_alive_prunes_nothing_and_is_not_measured_again() -> None:
    network, calls = two_layers(), 0
    pruner = Pruner(Magnitude(), Element(), Uniform())
    store = MaskStore(dict(network.named_parameters()))
    store.shrink_to({"0.weight": torch.tensor([[False, False], [True, True]])})
    store.apply_to(network)

    def evaluate() -> EvaluationResult:
        nonlocal calls
        calls += 1
        return at_ones(network, 2)

    units = Element().divide({"0.weight": network[0].weight})
    scores = pruner.unit_scores(network, store, units, NO_DATA)
    curves = measure_curves(network, scores, dict, [0.9, 0.5, 0.25], evaluate)

    assert scores["0.weight"].tolist() == [[-torch.inf, -torch.inf], [3.0, 4.0]]
    # (0, 7) -> 42 as it is; {4} gives (0, 4) and 24.
    assert points(curves, "0.weight") == [
        (1, 2, 42.0),
        (0.9, 2, 42.0),
        (0.5, 2, 42.0),
        (0.25, 1, 24.0),
    ]
    assert calls == 2


def test_what_goes_with_a_neuron_is_pruned_with_it() -> None:
    network = nn.Sequential(linear([[1.0], [2.0]], [10.0, 20.0]), linear([[1.0, 1.0]]))
    pruner = Pruner(Magnitude(), Neuron(), Uniform())
    units = pruner.structure.units(network, torch.ones(2, 1))
    store = MaskStore(dict(network.named_parameters()))
    scores = pruner.unit_scores(network, store, units, NO_DATA)

    curves = measure_curves(
        network, scores, lambda kept: masks_of(units, kept, {}), [0.5],
        lambda: at_ones(network, 1),
    )  # fmt: skip

    # 11 + 22; without the first neuron and its bias 22, with the bias it would be 32.
    assert list(curves) == ["0.weight"]
    assert points(curves, "0.weight") == [(1.0, 2, 33.0), (0.5, 1, 22.0)]


def bits(network: nn.Module) -> list[list[int]]:
    return [p.detach().view(torch.int32).flatten().tolist() for p in network.parameters()]


@pytest.mark.parametrize("fails_at", [None, 1, 2, 4])
def test_the_network_comes_back_bit_for_bit_also_after_an_error(fails_at) -> None:
    network, calls = two_layers(), 0
    with torch.no_grad():
        network[0].weight[0, 0] = -0.0
        network[0].weight[0, 1] = torch.nan
    before, scores = bits(network), {n: torch.rand(p.shape) for n, p in network.named_parameters()}

    def evaluate() -> EvaluationResult:
        nonlocal calls
        calls += 1
        if calls == fails_at:
            raise RuntimeError("out of memory")
        return EvaluationResult(0.0, 0.0, 0.0)

    try:
        measure_curves(network, scores, dict, [0.5, 0.25], evaluate)
    except RuntimeError:
        assert fails_at is not None
    assert bits(network) == before
    assert all(p.requires_grad and p.is_leaf for p in network.parameters())


@pytest.mark.parametrize("grid", [[], 0.5, [0.5, 0.0], [1.5], [True], ["a"], "abc"])
def test_a_grid_is_densities(grid) -> None:
    with pytest.raises(ValueError, match=r"sensitivity.grid must be a list of densities in \(0, 1"):
        check_grid(grid)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Spy(Uniform):
    needs_curves: ClassVar[bool] = True

    grid: tuple[float, ...] = (0.5, 0.1)
    seen: list[dict[str, SensitivityCurve | None]] = field(default_factory=list)

    def distribute(self, layers: Layers, keep: int) -> Counts:
        self.seen.append({name: layer.curve for name, layer in layers.items()})
        return super().distribute(layers, keep)


def test_an_allocation_that_needs_curves_gets_those_of_the_network_at_its_level(
    tmp_path, monkeypatch
) -> None:
    spy, sink = Spy(), Silent()
    what = build(
        compose_config([*TINY, "schedule=geometric", "schedule.levels=2", "schedule.rounds=2"])
    )
    levels = runner.prepare(replace(what, allocation=spy), Ranks(), tmp_path)
    runner.run(Recorder(*levels, ME, sink))

    losses = {(r.level, r.stage): r.validation_loss for r in sink.records}
    wholes = [losses[0, "dense"]] * 2 + [losses[1, "finetuned"]] * 2
    assert len(spy.seen) == len(wholes)
    for seen, whole in zip(spy.seen, wholes, strict=True):
        assert list(seen) == ["fc1.weight", "fc2.weight", "fc3.weight"]
        for curve in seen.values():
            assert curve is not None
            assert [density for density, _ in curve] == [1.0, 0.5, 0.1]
            assert curve[0][1] == whole
    assert spy.seen[0] is not spy.seen[1] and spy.seen[0] == spy.seen[1] != spy.seen[2]
