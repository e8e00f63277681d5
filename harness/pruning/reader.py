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


def compare_nothing(digests: dict[str, str], subject: str) -> None:
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
    compare: Compare = compare_nothing
    part: str = ""

    def on(self, model: nn.Module, units: Grouping) -> CalibrationData:
        """What a saliency may measure, of these weights of the network, which are in the part."""
        module, inside = model.get_submodule(self.part), local(units, self.part)
        return CalibrationData(module, self.batches, self.loss, self.mean, inside)


def local(units: Grouping, part: str) -> Grouping:
    """The units by their names in a submodule."""
    start = len(part) + 1 if part else 0
    return {
        name[start:]: tuple(n[start:] for n in companions) for name, companions in units.items()
    }


class Reader:
    """A part that is asked about a network, which every call must leave as it was.

    compare: raises unless the digests are equal on all ranks; called after each call.
    """

    def __init__(self, part: Any, model: nn.Module, compare: Compare = compare_nothing):
        self._part, self._model, self._compare = part, model, compare
        self._original = Condition.of(model)

    def __call__(self, call: str, *arguments: Any, **more: Any) -> Any:
        """What the part's method `call` returns.

        Raises:
            ValueError: the network is not as it was: parameters, buffers, gradients, what is
                trained, modes, hooks, modules and what they compute with, modes of torch.
            RanksDisagree: it is not equal on all ranks.
        """
        modes = modes_of_torch()
        with naming_broken(self._model):
            result = getattr(self._part, call)(*arguments, **more)
        left_modes = [kind for kind, value in modes_of_torch().items() if value != modes[kind]]
        condition, name = Condition.of(self._model), type(self._part).__name__
        changed = [*self._original.unlike(condition), *left_modes]
        # Values are told by their digests.
        digests = condition.digests | {kind: "changed" for kind in changed if VALUES not in kind}
        # Before the error of one rank, for which the others would wait.
        self._compare(digests, f"the network after {call} of {name}")
        if changed:
            others = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
            raise ValueError(
                f"{name} left the network changed by its {call}: {', '.join(changed[:NAMED])}"
                f"{others}; a part that looks at the network must leave it as it was: work on "
                "copies, or undo what you do"
            )
        return result
