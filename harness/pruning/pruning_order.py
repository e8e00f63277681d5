"""Splits a pruning into steps, of the whole model or part by part, and keeps its progress."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import nn

from harness.groups.units import Units
from harness.pruning.budget import RequestedSize, round_sizes
from harness.pruning.reader import is_in
from harness.vocabulary.apportion import apportion
from harness.vocabulary.given.inputs import Inputs
from harness.vocabulary.tensors import Counts

State = dict[str, Any]


class PruningOrder(Protocol):
    """Names parts of a model that are pruned in order, such as the blocks of a transformer.

    A saliency then measures each part by itself, on the part's inputs behind the parts that are
    already pruned. The model is in eval mode, without gradients, and must be left unchanged.
    """

    def parts(self, model: nn.Module) -> Sequence[str]:
        """Returns names of submodules in order; each prunable weight is in exactly one of them."""
        ...

    def first_inputs(self, model: nn.Module, inputs: list[Inputs]) -> list[Inputs]:
        """Returns the inputs of the first part for these batches of model inputs."""
        ...

    def next_inputs(self, model: nn.Module, part: str, inputs: list[Inputs]) -> list[Inputs]:
        """Returns the inputs of the next part, given the inputs of this part."""
        ...


class PruningStep(NamedTuple):
    """Describes one step of a pruning.

    Args:
        part: name of a submodule; "" is the whole model.
        keep: the size of the part's weights to keep.
        counts: what `keep` counts, as in RequestedSize.
    """

    part: str
    keep: int
    counts: str

    @property
    def requested(self) -> RequestedSize:
        return RequestedSize(self.keep, self.counts)


@dataclass
class PruningProgress:
    """Keeps one pruning: its steps, and how many are done. A run saves both between two steps.

    The inputs of a part are not saved: they follow from the model, and differ between ranks.
    """

    steps: list[PruningStep]
    done: int = 0

    @classmethod
    def load(cls, state: State) -> "PruningProgress":
        return cls([PruningStep(*step) for step in state["steps"]], state["done"])

    def state_dict(self) -> State:
        return {"steps": [list(step) for step in self.steps], "done": self.done}

    @classmethod
    def of(cls, sizes: Sequence[RequestedSize]) -> "PruningProgress":
        """Returns the steps of a pruning of the whole model through these sizes."""
        return cls([PruningStep("", requested.keep, requested.counts) for requested in sizes])

    @classmethod
    def by_parts(
        cls, parts: Sequence[str], alive_sizes: Counts, end: float, counts: str, rounds: int
    ) -> "PruningProgress":
        """Returns the steps of a pruning in which each round goes through all parts.

        The parts divide the requested size in proportion to their alive sizes, so that the sum over
        the parts is the requested size of the whole model.

        Args:
            parts: names of the parts, in order.
            alive_sizes: by prunable weight, in what `counts` names.
            end: the total size to keep.
            counts: what sizes count.
            rounds: the number of rounds.
        """
        sizes = {
            part: sum(n for name, n in alive_sizes.items() if is_in(part, name)) for part in parts
        }
        sizes = {part: size for part, size in sizes.items() if size}
        ends = apportion(round(end), sizes, sizes)
        sizes_by_part = {p: round_sizes(size, ends[p], counts, rounds) for p, size in sizes.items()}
        steps = [
            PruningStep(p, sizes_by_part[p][round_number].keep, counts)
            for round_number in range(rounds)
            for p in sizes
        ]
        return cls(steps)


def units_in(part: str, units: Units) -> Units:
    return {name: each for name, each in units.items() if is_in(part, name)}


def check_parts(parts: Sequence[str], units: Units) -> None:
    """Checks that the parts of a pruning order cover the units.

    Raises:
        ValueError: a prunable weight is in none of the parts or in several, or units are computed
            in another part too.
    """
    for name, each in units.items():
        parts_with = [part for part in parts if is_in(part, name)]
        if len(parts_with) != 1:
            where = f"in {' and in '.join(parts_with)}" if parts_with else "in none of them"
            raise ValueError(
                f"pruning_order has the parts {', '.join(parts)}, but {name} is {where}; let each "
                f"weight be in one part, or exclude={name.removesuffix('.weight')}"
            )
        computing = [n for w, vectors in each.companions.items() for n in (w, *vectors)]
        computing += each.scored
        outside = [n for n in computing if not is_in(parts_with[0], n)]
        if outside:
            raise ValueError(
                f"{outside[0]} is pruned with the units of {name}, but lies outside of their part "
                f"{parts_with[0]} of pruning_order; choose larger parts, or structure=element"
            )
