"""A pruning as steps: of the network as a whole, or part by part; and how far it has come."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from harness.pruning.budget import RequestedSize, round_sizes
from harness.structure.base import Units
from harness.vocabulary.apportion import apportion
from harness.vocabulary.tensors import Counts

State = dict[str, Any]


class PruningOrder(Protocol):
    """Parts of a network that are pruned one after the other, such as the blocks of a transformer.

    A saliency then measures each part by itself, on the inputs that it has behind those parts
    that are pruned already. The network is in eval mode, without gradients, and must be left as it
    was.
    """

    def parts(self, model: nn.Module) -> Sequence[str]:
        """Names of submodules, in their order; each weight that is pruned is in one of them."""
        ...

    def first_inputs(self, model: nn.Module, inputs: list[Tensor]) -> list[Tensor]:
        """What the first part is given while the model is given these batches of inputs."""
        ...

    def next_inputs(self, model: nn.Module, part: str, inputs: list[Tensor]) -> list[Tensor]:
        """What the part after this one is given, if this one is given these."""
        ...


class Step(NamedTuple):
    """part: name of a submodule; "" is the network. keep, counts: as in Goal, for its weights."""

    part: str
    keep: int
    counts: str

    @property
    def requested(self) -> RequestedSize:
        return RequestedSize(self.keep, self.counts)


@dataclass
class PruningProgress:
    """One pruning: its steps, and how many of them are done. A run saves both between two steps.

    What a part is given is not saved: it follows from the network, and is another on each rank.
    """

    steps: list[Step]
    done: int = 0

    @classmethod
    def load(cls, state: State) -> "PruningProgress":
        return cls([Step(*step) for step in state["steps"]], state["done"])

    def state_dict(self) -> State:
        return {"steps": [list(step) for step in self.steps], "done": self.done}

    @classmethod
    def of(cls, sizes: Sequence[RequestedSize]) -> "PruningProgress":
        """Of the network as a whole, which comes to these goals one after the other."""
        return cls([Step("", requested.keep, requested.counts) for requested in sizes])

    @classmethod
    def by_parts(
        cls, parts: Sequence[str], alive_sizes: Counts, end: float, counts: str, rounds: int
    ) -> "PruningProgress":
        """Each round goes through all parts. They share what is kept in proportion to what they
        hold, so that the sum over them is the whole network's goal.

        held: by prunable weight, of what `counts` names. end: what stays of all that is held.
        """
        sizes = {
            part: sum(n for name, n in alive_sizes.items() if is_in(part, name)) for part in parts
        }
        sizes = {part: size for part, size in sizes.items() if size}
        ends = apportion(round(end), sizes, sizes)
        sizes_by_part = {p: round_sizes(size, ends[p], counts, rounds) for p, size in sizes.items()}
        steps = [
            Step(p, sizes_by_part[p][round_number].keep, counts)
            for round_number in range(rounds)
            for p in sizes
        ]
        return cls(steps)


def is_in(part: str, name: str) -> bool:
    return not part or name.startswith(f"{part}.")


def units_in(part: str, units: Units) -> Units:
    return {name: companions for name, companions in units.items() if is_in(part, name)}


def check_parts(parts: Sequence[str], units: Units) -> None:
    """
    Raises:
        ValueError: a weight that is pruned is in none of the parts or in several, or what goes with
            its units is in another part.
    """
    for name, companions in units.items():
        parts_with = [part for part in parts if is_in(part, name)]
        if len(parts_with) != 1:
            where = f"in {' and in '.join(parts_with)}" if parts_with else "in none of them"
            raise ValueError(
                f"pruning_order goes through {', '.join(parts)}, and {name} is {where}; let each "
                f"weight be in one part, or exclude={name.removesuffix('.weight')}"
            )
        outside = [companion for companion in companions if not is_in(parts_with[0], companion)]
        if outside:
            raise ValueError(
                f"{outside[0]} goes with the units of {name}, and is outside of its part "
                f"{parts_with[0]} of pruning_order; choose larger parts, or structure=element"
            )
