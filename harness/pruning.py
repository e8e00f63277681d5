"""One pruning event: evidence -> scores -> units -> counts -> masks; knows no levels, no files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.allocation.base import Allocation, Layer, Layers
from harness.masks import MaskStore
from harness.saliency.base import Saliency
from harness.selection import top_each
from harness.structure.base import Structure, Units
from harness.tensors import Batch, Counts, Loss, Mean, Tensors, prunable_layers, prunable_weights

# The limit in a message has six digits, and whoever asks for it must get it.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Account:
    """What a model has of a thing (weights, parameters), and how much of it pruning can remove."""

    unit: str  # "density" counts prunable weights, "compression" all parameters
    total: int
    removable: int  # in the units that the structure prunes

    def share_of(self, asked: float) -> float:
        """Kept share of the removable part that makes the whole model reach what is asked.

        asked: a density in (0, 1], or a compression >= 1.

        Raises:
            ValueError: what is never removed alone exceeds it; it names the reachable limit.
        """
        fixed = self.total - self.removable
        left = asked * self.total if self.unit == "density" else self.total / asked
        if left < fixed - ROUNDING * self.total:
            rule = "at most" if self.unit == "compression" else "at least"
            raise ValueError(
                f"{self.unit} {asked} cannot be reached: {fixed} of {self.total} are never removed "
                f"by this structure; ask for {rule} {self.asked_of(0.0):.6g}"
            )
        share = max(0.0, left - fixed) / self.removable
        return asked if (fixed, self.unit) == (0, "density") else share

    def asked_of(self, share: float) -> float:
        """The inverse of share_of: density or compression of the whole model."""
        left = self.total - self.removable + share * self.removable
        if self.unit == "density":
            return left / self.total
        return self.total / left if left else float("inf")


@dataclass(frozen=True)
class Goal:
    """How much the removable part may still hold after the event."""

    keep: int  # in prunable weights (unit "density") or in parameters (unit "compression")
    unit: str


@dataclass(frozen=True)
class Calibration:
    """What a saliency may look at: this rank's batches, the loss, and the mean over ranks."""

    batches: Iterable[Batch]
    loss: Loss
    mean: Mean


@dataclass(frozen=True)
class Pruner:
    """What decides masks: saliency, structure and allocation.

    Raises:
        ValueError: saliency and structure do not fit.
    """

    saliency: Saliency
    structure: Structure
    allocation: Allocation

    def __post_init__(self) -> None:
        if self.saliency.granularity == "unit" and self.structure.granularity == "weight":
            raise ValueError(
                f"saliency {type(self.saliency).__name__} scores whole units and structure "
                f"{type(self.structure).__name__} prunes single weights; "
                "use structure=filter or structure=neuron"
            )

    def account(self, unit: str, model: nn.Module, units: Units) -> Account:
        """The budget of this model in one unit of asking."""
        weights = prunable_weights(model)
        layers = self._layers({n: torch.ones_like(weights[n]) for n in units}, model, units)
        removable = sum(layer.units * _cost(layer, unit) for layer in layers.values())
        if unit == "density":
            return Account(unit, sum(w.numel() for w in weights.values()), removable)
        return Account(unit, sum(p.numel() for p in model.parameters()), removable)

    def masks(
        self, model: nn.Module, store: MaskStore, units: Units, goal: Goal, data: Calibration
    ) -> Tensors:
        """The next masks: of the units alive, those that reach the goal.

        Exactly `goal.keep` when every unit costs the same, the nearest reachable count
        otherwise. Reads the model; changes nothing.
        """
        evidence = self.saliency.evidence(model, data.batches, data.loss, data.mean)
        weights = {name: model.get_parameter(name).detach() for name in units}
        scores = self.saliency.score(weights, evidence)
        layers = self._layers(scores, model, units, store.masks)
        counts = self.counts(layers, goal)
        kept = top_each({name: layer.scores for name, layer in layers.items()}, counts)
        return {
            name: mask
            for weight, companions in units.items()
            for name, mask in self._members(weight, companions, kept[weight], weights[weight])
        }

    def counts(self, layers: Layers, goal: Goal) -> Counts:
        """Units to keep per tensor so that they hold `goal.keep` weights or parameters.

        With units of unequal cost: bisection on the number of units, which the allocation
        shares; of the two counts around the target the nearer one, the smaller on a tie.
        """
        alive = sum(layer.alive for layer in layers.values())
        costs = {_cost(layer, goal.unit) for layer in layers.values()}
        if len(costs) == 1:
            cost = costs.pop()
            nearest = -(-(2 * goal.keep - cost) // (2 * cost))  # the smaller on a tie
            return self.allocation.allocate(layers, min(nearest, alive))

        def off_by(keep: int) -> int:
            counts = self.allocation.allocate(layers, keep)
            held = sum(counts[name] * _cost(layer, goal.unit) for name, layer in layers.items())
            return held - goal.keep

        low, high = 0, alive
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if off_by(middle) <= 0 else (low, middle)
        keep = min((low, high), key=lambda keep: abs(off_by(keep)))
        return self.allocation.allocate(layers, keep)

    def _layers(
        self, scores: Tensors, model: nn.Module, units: Units, masks: Tensors | None = None
    ) -> Layers:
        modules = prunable_layers(model)
        positions = {name: number for number, name in enumerate(modules)}
        layers = {}
        for name, companions in units.items():
            pooled = self._pool(name, scores[name])
            count = pooled.numel()
            if masks is not None:
                alive = self._alive(masks[name])
                count = int(alive.count_nonzero())
                if count < pooled.numel():
                    pooled = torch.where(alive, pooled, -torch.inf)
            per_unit = scores[name].numel() // pooled.numel()
            layers[name] = Layer(
                shape=tuple(scores[name].shape),
                kind=type(modules[name]).__name__,
                position=positions[name],
                alive=count,
                scores=pooled,
                weights_per_unit=per_unit,
                parameters_per_unit=per_unit + len(companions),
            )
        return layers

    def _pool(self, name: str, scores: Tensor) -> Tensor:
        # The extremes of scores among which one is not finite are not finite, and cheaper.
        low, high = scores.aminmax()
        if not (low.isfinite() and high.isfinite()):
            raise ValueError(
                f"{type(self.saliency).__name__} gave {name} scores that are not finite; "
                "look for a loss or gradient that overflows"
            )
        return self.structure.pool(scores)

    def _alive(self, mask: Tensor) -> Tensor:
        if self.structure.granularity == "weight":
            return mask
        # A unit is alive while any of its weights is: pooling the mask says so for any structure.
        return self.structure.pool(mask.float()) > 0

    def _members(
        self, weight: str, companions: tuple[str, ...], kept: Tensor, like: Tensor
    ) -> Iterable[tuple[str, Tensor]]:
        yield weight, self.structure.expand(kept, tuple(like.shape))
        for name in companions:
            yield name, kept


def without(units: Units, exclude: Sequence[str]) -> Units:
    """The units less those of excluded weights: "first", "last" (in model order), or names.

    A name is that of the layer ("fc1") or of its weight ("fc1.weight").

    Raises:
        ValueError: a name is no prunable layer's, or nothing is left to prune.
    """
    names = list(units)
    meanings = {"first": names[0], "last": names[-1]}
    meanings |= {name.removesuffix(".weight"): name for name in names} | {n: n for n in names}
    unknown = [word for word in exclude if word not in meanings]
    if unknown:
        raise ValueError(
            f"exclude names {unknown[0]!r}, which is no layer that this structure prunes; "
            f"there are: first, last, {', '.join(names)}"
        )
    kept = {n: along for n, along in units.items() if n not in {meanings[w] for w in exclude}}
    if not kept:
        raise ValueError(f"exclude={list(exclude)} leaves nothing to prune; exclude fewer layers")
    return kept


def _cost(layer: Layer, unit: str) -> int:
    return layer.weights_per_unit if unit == "density" else layer.parameters_per_unit
