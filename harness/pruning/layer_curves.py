"""Prunes each layer alone to a grid of densities, and measures the model on validation data."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.pruning.masks import MaskStore
from harness.training.evaluation import EvaluationResult
from harness.vocabulary.tensors import Tensors
from harness.vocabulary.topk import topk_mask


@dataclass(frozen=True)
class CurvePoint:
    """Holds a measurement of the model with one layer pruned alone."""

    density: float  # requested, of the layer's units
    kept: int  # number of the layer's units
    measured: EvaluationResult


# Name of a prunable weight -> points by falling density from 1.
SensitivityCurves = dict[str, tuple[CurvePoint, ...]]


def check_grid(grid: Iterable[float]) -> None:
    """Checks a grid of densities.

    Raises:
        ValueError: there is no density, or one is not in (0, 1].
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
    select: Callable[[Tensor, int], Tensor] = topk_mask,
    norms: Callable[[Tensors], AbstractContextManager[None]] = lambda masks: nullcontext(),
) -> SensitivityCurves:
    """Returns for each layer and density the result of `evaluate` with that layer pruned alone.

    round(density * units) of the layer's units stay: those with the highest scores, and of equal
    scores the first. If fewer units are alive, nothing is pruned. The first point is always density
    1, the model as it is. BatchNorm keeps its statistics, so nothing adapts to the pruning. The
    model is restored bit for bit, also after an error in `evaluate`.

    Args:
        model: the model to measure.
        scores: one per unit, by weight; pruned units have -inf.
        expand: turns masks of units by weight into masks of all parameters pruned with them.
        grid: the densities.
        evaluate: called once per count of kept units; equally often on all ranks if scores are
            equal.
        select: selects units of a weight by their scores, as `Structure.select`.
        norms: returns a context in which norms take statistics over what these masks leave.
    """
    densities, unpruned = sorted({1.0, *grid}, reverse=True), evaluate()

    def points(name: str, score: Tensor) -> Iterator[CurvePoint]:
        alive = int((score != -torch.inf).count_nonzero())
        measured = {alive: unpruned}
        for density in densities:
            keep = min(round(density * score.numel()), alive)
            if keep not in measured:
                masks = expand({name: select(score, keep)})
                with temporarily_pruned(model, masks), norms(masks):
                    measured[keep] = evaluate()
            yield CurvePoint(density, keep, measured[keep])

    return {name: tuple(points(name, score)) for name, score in scores.items()}


@contextmanager
def temporarily_pruned(model: nn.Module, masks: Tensors) -> Iterator[None]:
    """Sets the parameters to 0 outside their masks, and restores them at exit."""
    originals = {name: model.get_parameter(name).detach().clone() for name in masks}
    store = MaskStore(originals)
    store.shrink_to(masks)
    try:
        store.apply_to(model)
        yield
    finally:
        for name, value in originals.items():
            model.get_parameter(name).detach().copy_(value)
