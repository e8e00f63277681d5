"""Says in one line why a smaller model is slower than its multiply-accumulates promise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

LIMIT = 0.7  # of the theoretical speed-up; from here on nothing needs an explanation
NAMED = 0.1  # share of the time from which a cause is named
SHRUNK = 0.9  # a layer with more of its multiply-accumulates than that did not shrink
PROPORTIONAL = 0.85  # of the dense layer's multiply-accumulates per second

Kind = Literal["products", "elementwise", "outside"]
Cause = Literal["whole", "elementwise", "outside", "odd", "per call", "narrow"]


@dataclass(frozen=True)
class LayerTime:
    """Holds one module of the dense and of the smaller model.

    Args:
        name: of the module, as in `named_modules()`.
        kind: "products" if it multiplies inputs by weights; "elementwise" if not (norms,
            activations, pooling); "outside": what the code of a module with others inside does
            between their calls.
        dense: seconds of a pass of the dense model, without those of modules inside.
        left: the same of the smaller model; 0 where it has none.
        left_twice: the same at twice the batch; None if it was not measured.
        dense_macs: multiply-accumulates of one sample.
        left_macs: the same of the smaller model.
        odd: widths of the smaller model that are cut and no multiple of the vector width.
    """

    name: str
    kind: Kind
    dense: float
    left: float
    left_twice: float | None = None
    dense_macs: int = 0
    left_macs: int = 0
    odd: tuple[int, ...] = ()

    @property
    def per_call(self) -> float:
        """Returns the seconds that do not grow with the batch: 2 t(b) - t(2 b), of t(b) at most."""
        if self.left_twice is None:
            return 0.0
        return min(self.left, max(0.0, 2 * self.left - self.left_twice))

    @property
    def cause(self) -> Cause | None:
        """Returns why its time fell less than multiply-accumulates; None if it did not."""
        if self.kind != "products":
            return self.kind
        if self.left_macs > SHRUNK * self.dense_macs:
            return "whole"
        # Two rates: (left_macs / left) / (dense_macs / dense).
        if self.left_macs * self.dense >= PROPORTIONAL * self.dense_macs * self.left:
            return None
        return "odd" if self.odd else "narrow"


class Share(NamedTuple):
    """Holds the share of the smaller model's time that one cause takes, and its largest layer."""

    cause: Cause
    share: float
    largest: str


@dataclass(frozen=True)
class SlowPass:
    """Compares a pass of both models, layer by layer.

    Args:
        layers: of the dense model.
        measured: speed-up, by the clock.
        theoretical: speed-up, by multiply-accumulates.
        batch_size: of the pass.
        vector_width: numbers that one instruction takes.
        removed: False if the smaller model has the dense one's tensors, masked.
    """

    layers: Sequence[LayerTime]
    measured: float
    theoretical: float
    batch_size: int
    vector_width: int
    removed: bool = True

    @property
    def is_near(self) -> bool:
        return self.measured >= LIMIT * self.theoretical

    @cached_property
    def shares(self) -> list[Share]:
        """Returns what the time of the smaller model goes into, by falling share.

        Each second has one cause: first what is taken per call, then that of the layer.
        """
        total, found = sum(layer.left for layer in self.layers), dict[Cause, dict[str, float]]()
        for layer in self.layers:
            found.setdefault("per call", {})[layer.name] = layer.per_call
            if layer.cause is not None:
                found.setdefault(layer.cause, {})[layer.name] = layer.left - layer.per_call
        shares = [
            Share(cause, sum(own.values()) / total, max(own, key=lambda name: own[name]))
            for cause, own in found.items()
            if total
        ]
        return sorted(shares, key=lambda each: -each.share)

    @property
    def why(self) -> str | None:
        """Returns the reason and a remedy in one line; None where the ratio is at least 0.7."""
        if self.is_near:
            return None
        ratio = self.measured / self.theoretical
        words = f"{ratio:.2f} of the theoretical speed-up of {self.theoretical:.3g}: "
        if not self.removed:
            return (
                f"{words}masked weights are multiplied as zeros; cut them out with compact=levels"
            )
        named = [each for each in self.shares if each.share >= NAMED]
        if not named:
            return f"{words}no layer stands out; measure again on an idle machine"
        causes = ", ".join(f"{each.share:.0%} {self._words(each)}" for each in named)
        return f"{words}its time goes {causes}; {self._remedy(named[0].cause)}"

    def _words(self, each: Share) -> str:
        largest = f"(most in {each.largest or 'the model itself'})"
        odd = dict.fromkeys(w for layer in self.layers for w in self._odd(layer, each.cause))
        widths = ", ".join(map(str, list(odd)[:3])) + (", ..." if len(odd) > 3 else "")
        return {
            "whole": f"into layers that did not shrink {largest}",
            "elementwise": f"into norms, activations and pooling {largest}",
            "outside": f"into operators outside of layers {largest}",
            "odd": f"into widths that are no multiple of {self.vector_width}: {widths} {largest}",
            "per call": f"into what calls cost whatever the batch, now {self.batch_size} {largest}",
            "narrow": f"into narrower layers with fewer products a second {largest}",
        }[each.cause]

    def _odd(self, layer: LayerTime, cause: Cause) -> Iterator[int]:
        yield from layer.odd if cause == layer.cause == "odd" else ()

    def _remedy(self, cause: Cause) -> str:
        return {
            "whole": "prune these too (exclude fewer layers, or structure=group)",
            "elementwise": "fuse them (latency.runtimes=[compile]), or remove whole blocks "
            "(structure=depth)",
            "outside": "fuse them (latency.runtimes=[compile]), or remove whole blocks "
            "(structure=depth)",
            "odd": f"use structure.round_to={self.vector_width}",
            "per call": "use a larger batch, or remove whole blocks (structure=depth)",
            "narrow": "use a larger batch, or remove whole blocks (structure=depth)",
        }[cause]
