"""The one way in which a part looks at a network: it comes back as it was, on every rank."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from harness.model_state.condition import VALUES, Condition, modes_of_torch
from harness.saliency.base import CalibrationData, Grouping
from harness.vocabulary.finite import naming_broken
from harness.vocabulary.tensors import Batch, Loss, Mean

Compare = Callable[[dict[str, str], str], None]  # digests by name, what they are of
NAMED = 5  # of the things that a part has changed


def alone(digests: dict[str, str], what: str) -> None:
    """Compares nothing: there is no other rank."""


@dataclass(frozen=True)
class Calibration:
    """What a saliency may look at: this rank's batches, the loss, and the mean over ranks.

    compare: of the network over ranks, after each call of the saliency. part: the submodule that
    the batches are given to; "" is the network.
    """

    batches: Iterable[Batch]
    loss: Loss | None
    mean: Mean
    compare: Compare = alone
    part: str = ""

    def on(self, model: nn.Module, units: Grouping) -> CalibrationData:
        """What a saliency may measure, of these weights of the network, which are in the part."""
        module, inside = model.get_submodule(self.part), local(units, self.part)
        return CalibrationData(module, self.batches, self.loss, self.mean, inside)


def local(units: Grouping, part: str) -> Grouping:
    """The units by their names in a submodule."""
    start = len(part) + 1 if part else 0
    return {name[start:]: tuple(n[start:] for n in along) for name, along in units.items()}


class Reader:
    """A part that is asked about a network, which every call must leave as it was.

    compare: raises unless the digests are equal on all ranks; called after each call.
    """

    def __init__(self, part: Any, network: nn.Module, compare: Compare = alone):
        self._part, self._network, self._compare = part, network, compare
        self._before = Condition.of(network)

    def __call__(self, call: str, *arguments: Any, **more: Any) -> Any:
        """What the part's method `call` returns.

        Raises:
            ValueError: the network is not as it was: parameters, buffers, gradients, what is
                trained, modes, hooks, modules and what they compute with, modes of torch.
            RanksDisagree: it is not equal on all ranks.
        """
        modes = modes_of_torch()
        with naming_broken(self._network):
            found = getattr(self._part, call)(*arguments, **more)
        left = [what for what, value in modes_of_torch().items() if value != modes[what]]
        after, name = Condition.of(self._network), type(self._part).__name__
        changed = [*self._before.unlike(after), *left]
        # Values are told by their digests.
        told = after.digests | {what: "changed" for what in changed if VALUES not in what}
        # Before the error of one rank, for which the others would wait.
        self._compare(told, f"the network after {call} of {name}")
        if changed:
            more_of_it = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
            raise ValueError(
                f"{name} left the network changed by its {call}: {', '.join(changed[:NAMED])}"
                f"{more_of_it}; a part that looks at the network must leave it as it was: work on "
                "copies, or undo what you do"
            )
        return found
