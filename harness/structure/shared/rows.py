"""Implements neurons and filters: a unit is one index of the weight's first dimension."""

import logging
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from harness.structure.base import Structure
from harness.structure.shared.graph import graph_of
from harness.structure.shared.pooling import Pooling, pooled
from harness.vocabulary.checks import check_declared
from harness.vocabulary.tensors import Units, prunable_layers

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows(Structure):
    """Prunes the output units of some kinds of layers.

    Pooling of element scores s over a unit: "mean" sum(s) / n, "sum" sum(s), "l2" sqrt(sum(s^2)). A
    unit is removed with its bias, of every layer that shares its weight, and with the scale and
    shift of the norms that it alone feeds. Units whose companions the graph does not show are never
    pruned, and the log names their layer. A norm without scale and shift has no companions, nor has
    a shift that is a buffer. The log names such a layer too, as its removed units still give what
    the norm or shift makes of a 0. The weights of the next layer that read a removed unit stay and
    are still counted.

    Raises:
        ValueError: pool is unknown.
    """

    pool_by: Pooling = "mean"

    granularity: ClassVar[str] = "unit"
    kinds: ClassVar[tuple[type[nn.Module], ...]]
    noun: ClassVar[str]

    def __post_init__(self) -> None:
        check_declared(self)

    def units(self, model: nn.Module, sample: Tensor) -> Units:
        layers = prunable_layers(model)
        graph = graph_of(model, sample)
        of_kinds = [name for name, layer in layers.items() if isinstance(layer, self.kinds)]
        inner = [
            name for name in of_kinds if name in graph.companions and name not in graph.outputs
        ]
        pinned = {name: graph.pinned[name] for name in inner if name in graph.pinned}
        _log_pinned(self.noun, pinned)
        free = [name for name in inner if name not in pinned]
        if not free:
            raise ValueError(self._nothing_to_prune(layers, pinned))
        if nonzero_after_removal := [
            name.removesuffix(".weight") for name in free if name in graph.nonzero_after_removal
        ]:
            LOG.warning(
                "structure=%s: removed units of %s still give what a norm or a shift without "
                "parameters makes of a 0", self.noun, ", ".join(nonzero_after_removal),
            )  # fmt: skip
        return {name: graph.companions[name] for name in free}

    def _nothing_to_prune(self, layers: dict[str, nn.Module], pinned: dict[str, str]) -> str:
        if pinned:
            name, reason = next(iter(pinned.items()))
            return (
                f"structure={self.noun} has nothing to prune; of {name.removesuffix('.weight')}: "
                f"{reason}; use structure=element"
            )
        kinds = sorted({type(layer).__name__ for layer in layers.values()})
        return (
            f"structure={self.noun} has nothing to prune: the model's layers are "
            f"{', '.join(kinds)}, and outputs are never removed; use structure=element"
        )

    def pool(self, scores: Tensor) -> Tensor:
        return pooled(scores.flatten(start_dim=1), (1,), self.pool_by)

    def expand(self, units: Tensor, shape: tuple[int, ...]) -> Tensor:
        return units.view(-1, *[1] * (len(shape) - 1)).expand(shape).contiguous()


def _log_pinned(noun: str, pinned: dict[str, str]) -> None:
    """Logs one line per reason."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in pinned.items():
        by_reason.setdefault(reason, []).append(name.removesuffix(".weight"))
    for reason, names in by_reason.items():
        LOG.warning("structure=%s does not prune %s: %s", noun, ", ".join(names), reason)
