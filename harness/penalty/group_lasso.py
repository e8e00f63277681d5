from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from harness.groups.units import GroupUnits, Units
from harness.penalty.base import EPOCHS
from harness.vocabulary.checks import check_declared
from harness.vocabulary.tensors import Tensors

ALPHA = "a number in [0, 16]; 0 presses all units alike"


@dataclass(frozen=True)
class GroupLasso:
    """strength / 2 x sum over groups and units k of g_k ||w_k||^2, w_k all parameters of unit k.

    w_k are its rows, columns, biases, scales and shifts. g_k = 2^(alpha (I_max - I_k) / (I_max -
    I_min)), I_k = ||w_k||^2, over the units of the group that are not 0: the least unit is pressed
    2^alpha times as strongly as the largest. g_k counts as a constant, so strength x g_k x w is
    added to gradients.

    form: "squared" is the above; "lasso" is strength x sum sqrt(p) ||w_k||, p the number of entries
    of a unit: adds strength x sqrt(p) x w / ||w_k||, 0 at w_k = 0; alpha is not read.

    Groups are those of the structure, without excluded ones; in a smaller model what is left of
    them. An entry in a row and in a column of units has the terms of both.

    Source: Fang et al. 2023, DepGraph (arXiv:2301.12900), section 3.3, with alpha = 4. Their code
    has the norm for I_k and leaves biases and shifts out. They train so for many epochs; here it is
    a phase of `epochs` before each pruning. "lasso" is the group lasso of Yuan & Lin 2006, as
    Wen et al. 2016 (arXiv:1608.03665) apply it to filters.

    Raises:
        ValueError: a field is out of range; when checked, the structure has no groups.
    """

    epochs: Annotated[int, EPOCHS] = 1
    strength: Annotated[float, "a number above 0; e.g. 1e-4"] = 1e-4
    alpha: Annotated[float, ALPHA] = 4.0
    form: Literal["squared", "lasso"] = "squared"

    needs_pending_masks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_declared(self)

    def check(self, model: nn.Module, units: Units) -> None:
        """Checks the structure before any training.

        Raises:
            ValueError: its units are not those of groups.
        """
        inside = [name for name, each in units.items() if not isinstance(each, GroupUnits)]
        if inside:
            raise ValueError(
                "penalty=group_lasso presses whole units of groups, but the structure prunes units "
                f"inside {inside[0]}; use structure=filter, neuron, row or group, or penalty=l1"
            )

    def make_gradient_hook(
        self, model: nn.Module, units: Units, to_prune: Tensors
    ) -> Callable[[int], None]:
        groups = [_slices(model, each) for each in units.values() if isinstance(each, GroupUnits)]

        @torch.no_grad()
        def add(step: int) -> None:
            for slices in groups:
                factors = self.strength * self._factors(slices)
                for each in slices:
                    if each.weight.grad is not None:
                        each.weight.grad.add_(each.weight * each.spread(factors))

        return add

    def _factors(self, slices: list["Slices"]) -> Tensor:
        """Returns what the entries of each unit are multiplied by, 1 strength apart: (units,)."""
        squares = torch.stack([each.squares() for each in slices]).sum(0)
        live = squares > 0
        if self.form == "lasso":
            entries = sum(each.entries for each in slices)
            return torch.where(live, (entries / squares).sqrt(), 0.0)
        if not live.any():
            return squares
        least, largest = squares[live].aminmax()
        if largest == least:
            return live.to(squares)
        return torch.where(live, 2 ** (self.alpha * (largest - squares) / (largest - least)), 0.0)


class Slices(NamedTuple):
    """Holds what the units of a group own of one dimension of a parameter."""

    weight: nn.Parameter
    dim: int
    indices: Tensor  # (units, slices per unit)

    @property
    def entries(self) -> int:
        """Returns how many entries one unit owns."""
        return self.indices.shape[1] * (self.weight.numel() // self.weight.shape[self.dim])

    def squares(self) -> Tensor:
        """Returns the sum of squares of each unit's entries, in float32 at least: (units,)."""
        wide = self.weight.to(torch.promote_types(self.weight.dtype, torch.float32))
        others = [dim for dim in range(wide.dim()) if dim != self.dim]
        sums = wide.square().sum(others) if others else wide.square()
        return sums[self.indices].sum(1)

    def spread(self, factors: Tensor) -> Tensor:
        """Returns the units' factors in a shape that broadcasts to the parameter; 0 elsewhere."""
        spread_factors = self.weight.new_zeros(self.weight.shape[self.dim])
        spread_factors[self.indices] = factors.to(self.weight.dtype)[:, None]
        return spread_factors.view(
            [-1 if dim == self.dim else 1 for dim in range(self.weight.dim())]
        )


def _slices(model: nn.Module, units: GroupUnits) -> list[Slices]:
    parameters = dict(model.named_parameters())
    return [
        Slices(parameters[m.name], m.dim, m.indices.to(parameters[m.name].device))
        for m in units.group.members
        if m.name in parameters
    ]
