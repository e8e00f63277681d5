"""Each layer pruned alone to a grid of densities, and what that costs on validation data."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.pruning.masks import MaskStore
from harness.training.evaluation import EvaluationResult
from harness.vocabulary.tensors import Tensors
from harness.vocabulary.topk import top


@dataclass(frozen=True)
class CurvePoint:
    """The network with one layer pruned alone."""

    density: float  # asked, of the layer's units
    kept: int  # units of the layer
    measured: EvaluationResult


SensitivityCurves = dict[
    str, tuple[CurvePoint, ...]
]  # prunable weight -> by falling density from 1


def check_grid(grid: Iterable[float]) -> None:
    """
    Raises:
        ValueError: no densities, or one that is not in (0, 1].
    """
    values = list(grid) if isinstance(grid, list | tuple) else []
    wrong = [v for v in values if type(v) not in (int, float) or not 0 < v <= 1]
    if not values or wrong:
        raise ValueError(
            f"sensitivity.grid must be a list of densities in (0, 1], got "
            f"{wrong[0] if wrong else grid!r}; write sensitivity.grid=[0.5,0.2,0.1]"
        )


def measure_curves(
    model: nn.Module,
    scores: Tensors,
    expand: Callable[[Tensors], Tensors],
    grid: Iterable[float],
    evaluate: Callable[[], EvaluationResult],
) -> SensitivityCurves:
    """For each layer and density: what `evaluate` finds while that layer alone is pruned.

    round(density * units) of the layer's units stay, those of the highest scores; of equal
    scores the first. If fewer are alive nothing is pruned. Density 1, the network as it is, is
    always the first point. BatchNorm keeps its statistics: nothing adapts to the pruning.
    The network comes back bit for bit, also after an error in `evaluate`.

    scores: one per unit by weight, pruned units -inf. expand: masks of units by weight -> masks
    of all parameters that go with them. `evaluate` is called once per count of units kept, as
    often on every rank if scores are equal there.
    """
    densities, unpruned = sorted({1.0, *grid}, reverse=True), evaluate()

    def points(name: str, score: Tensor) -> Iterator[CurvePoint]:
        alive = int((score != -torch.inf).count_nonzero())
        measured = {alive: unpruned}
        for density in densities:
            keep = min(round(density * score.numel()), alive)
            if keep not in measured:
                with temporarily_pruned(model, expand({name: top(score, keep)})):
                    measured[keep] = evaluate()
            yield CurvePoint(density, keep, measured[keep])

    return {name: tuple(points(name, score)) for name, score in scores.items()}


@contextmanager
def temporarily_pruned(model: nn.Module, masks: Tensors) -> Iterator[None]:
    """Inside, the parameters are 0 outside their masks; outside they are what they were."""
    originals = {name: model.get_parameter(name).detach().clone() for name in masks}
    store = MaskStore(originals)
    store.shrink_to(masks)
    try:
        store.apply_to(model)
        yield
    finally:
        for name, value in originals.items():
            model.get_parameter(name).detach().copy_(value)
