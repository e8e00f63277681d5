"""Calls parts that read a model, and checks that each call leaves it unchanged on every rank."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from harness.groups.units import Units
from harness.model_state.condition import VALUES, ModelCondition, torch_modes
from harness.saliency.base import CalibrationData
from harness.vocabulary.finite import name_non_finite_weights
from harness.vocabulary.tensors import Batch, Companions, Loss, Mean, Tensors

Compare = Callable[[dict[str, str], str], None]  # digests by name, what the digests describe
NAMED = 5  # changes that an error names


class ModelChanged(ValueError):
    """Says which values of a model a part has changed that must only read it."""


def compare_nothing(digests: dict[str, str], subject: str) -> None:
    """Compares nothing: there is only one rank."""


@dataclass(frozen=True)
class Calibration:
    """Holds what a saliency may read: this rank's batches, the loss, and the mean over ranks.

    Args:
        batches: this rank's shard of the calibration samples.
        loss: the task's loss, summed over samples; None where batches are inputs of a part.
        mean: averages sums over ranks.
        compare: compares the model over ranks, after each call of the saliency.
        part: the submodule that receives the batches; "" is the whole model.
    """

    batches: Iterable[Batch]
    loss: Loss | None
    mean: Mean
    compare: Compare = compare_nothing
    part: str = ""

    def on(self, model: nn.Module, units: Units) -> CalibrationData:
        """Returns the data with which a saliency measures these weights, which are in the part."""
        module, inside = model.get_submodule(self.part), local(units, self.part)

        def unit_sums(values: Tensors) -> Tensors:
            whole = {f"{self.part}.{name}".lstrip("."): value for name, value in values.items()}
            return {name: each.add(whole) for name, each in units.items()}

        data = CalibrationData(module, self.batches, self.loss, self.mean, inside)
        return replace(data, unit_sums=unit_sums)


def local(units: Units, part: str) -> Companions:
    """Returns what a saliency knows of the units, by names relative to a submodule."""
    start = len(part) + 1 if part else 0
    return {
        name[start:]: tuple(vector[start:] for vector in vectors if is_in(part, vector))
        for name, vectors in companions_of(units).items()
    }


def is_in(part: str, name: str) -> bool:
    return not part or name.startswith(f"{part}.")


class Reader:
    """Calls methods of a part that reads a model. Every call must leave the model unchanged.

    Args:
        part: the part whose methods are called.
        model: the model that must not change.
        compare: called after each call; raises unless the digests are equal on all ranks.
    """

    def __init__(self, part: Any, model: nn.Module, compare: Compare = compare_nothing):
        self._part, self._model, self._compare = part, model, compare
        self._original = ModelCondition.of(model)

    def __call__(self, call: str, *arguments: Any, **more: Any) -> Any:
        """Returns the result of the part's method `call`.

        Raises:
            ModelChanged: the call changed the model: parameters, buffers, gradients, requires_grad,
                modes, hooks, modules and their attributes, or modes of torch.
            RanksDisagree: the model is not equal on all ranks.
        """
        modes = torch_modes()
        with name_non_finite_weights(self._model):
            result = getattr(self._part, call)(*arguments, **more)
        left_modes = [kind for kind, value in torch_modes().items() if value != modes[kind]]
        condition, name = ModelCondition.of(self._model), type(self._part).__name__
        changed = [*self._original.differences(condition), *left_modes]
        # Changed values show in their digests.
        digests = condition.digests | {kind: "changed" for kind in changed if VALUES not in kind}
        # Compare before raising: the other ranks would wait for a rank that raises.
        self._compare(digests, f"the model after {call} of {name}")
        if changed:
            others = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
            raise ModelChanged(
                f"{name} changed the model in its {call}: {', '.join(changed[:NAMED])}{others}; a "
                "part that reads the model must leave it unchanged: work on copies, or undo the "
                "changes"
            )
        return result


def companions_of(units: Units) -> Companions:
    """Returns for each parameter that is scored those that go with its rows."""
    found: dict[str, tuple[str, ...]] = {}
    for each in units.values():
        for name in each.scored:
            vectors = each.companions.get(name, ())
            found[name] = tuple(dict.fromkeys((*found.get(name, ()), *vectors)))
    return found
