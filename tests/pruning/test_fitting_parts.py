"""Parts of one's own, with and without the base class of their family, and which do not fit."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from harness import prune
from harness.allocation.uniform import Uniform
from harness.groups.units import Units
from harness.pruning.budget import RequestedSize
from harness.pruning.pruner import Pruner
from harness.saliency.base import CalibrationData, Saliency
from harness.saliency.fpgm import FPGM
from harness.structure.base import Pattern
from harness.structure.element import Element
from harness.vocabulary.tensors import Tensors, prunable_weights

IMAGES = torch.zeros(2, 2, 6, 6)


class Bare:
    """A saliency that inherits from nothing, with the three things that none can do without."""

    granularity = "weight"

    def statistics(self, data: CalibrationData) -> Tensors:
        return dict.fromkeys(data.weight_names, torch.zeros(()))

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        return {name: weight.abs() + statistics[name] for name, weight in weights.items()}


@dataclass(frozen=True)
class Blocks(Pattern):
    """Takes `width` consecutive elements of the flat weight as a unit."""

    width: int
    granularity: ClassVar[str] = "unit"

    def units(self, model: nn.Module, sample: Tensor) -> Units:
        return self.divide(prunable_weights(model))

    def pool(self, scores: Tensor) -> Tensor:
        return scores.flatten().view(-1, self.width).sum(dim=1)

    def expand(self, units: Tensor, shape: tuple[int, ...]) -> Tensor:
        return units.repeat_interleave(self.width).view(shape)


class Columns(Blocks):
    """Defines the columns of a square weight as units, as many as it has rows."""

    def pool(self, scores: Tensor) -> Tensor:
        return scores.sum(dim=0)

    def expand(self, units: Tensor, shape: tuple[int, ...]) -> Tensor:
        return units.expand(shape)


def convolution() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(64, 3))


def test_a_saliency_that_inherits_from_nothing_prunes_as_its_twin_does() -> None:
    bare: Any = Bare()
    one, other = convolution(), convolution()
    for name, mask in prune(one, 0.25, saliency=bare).items():
        assert mask.equal(prune(other, 0.25, saliency="magnitude")[name])
        other = convolution()


def test_what_a_bare_saliency_lacks_has_the_value_of_the_base_class() -> None:
    bare: Any = Bare()
    found = Pruner(bare, Element(), Uniform()).saliency
    assert (found.signed, found.layer_local, found.rounds, found.solve) == (False, False, 1, None)
    assert (found.update_weights, found.batch_norm, type(found).__name__) == (False, "eval", "Bare")


def test_what_a_bare_saliency_has_is_its_own() -> None:
    class Signed(Bare):
        signed = True
        rounds = 7

        def check(self, model: nn.Module, units: Units) -> None:
            raise ValueError(f"refused {', '.join(units)}")

    signed: Any = Signed()
    pruner, model = Pruner(signed, Element(), Uniform()), nn.Linear(2, 2)
    assert (pruner.saliency.signed, pruner.saliency.rounds) == (True, 7)
    with pytest.raises(ValueError, match="refused weight"):
        units = Element().divide({"weight": model.weight})
        pruner.check(RequestedSize(1, "parameters"), model, units)


@pytest.mark.parametrize("structure", [Blocks(9), Blocks(2), Columns(1)])
def test_units_that_are_no_rows_are_refused_before_a_saliency_of_rows_scores(structure) -> None:
    pruner = Pruner(FPGM(), structure, Uniform())
    model: nn.Module = nn.Linear(6, 6) if isinstance(structure, Columns) else convolution()
    units = structure.units(model, IMAGES)
    message = (
        "saliency FPGM scores the rows of .*weight, but its units are not rows; use structure="
    )
    with pytest.raises(ValueError, match=message):
        pruner.check(RequestedSize(1, "units"), model, units)


def test_a_bare_saliency_of_units_learns_which_are_asked_for() -> None:
    seen: list[CalibrationData] = []

    class Looking(Saliency):
        def statistics(self, data: CalibrationData) -> Tensors:
            seen.append(data)
            return {}

        def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
            return weights

    prune(convolution(), 0.5, saliency=Looking(), exclude="last")
    (data,) = seen
    assert data.weight_names == ("0.weight",) and data.selected_units == {"0.weight": ()}
