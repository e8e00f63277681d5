"""Defines what a structure is: the units in which weights are kept or removed."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from harness.groups.units import Units
from harness.structure.shared.weight_units import WeightUnits
from harness.vocabulary.given.inputs import Inputs
from harness.vocabulary.n_of_m import NOfM
from harness.vocabulary.tensors import prunable_layers
from harness.vocabulary.topk import topk_mask


class Structure(ABC):
    """Divides the weights of a model into units that are kept or removed whole.

    A part needs not inherit from this: what it lacks of the attributes has the value here.

    granularity: "weight": a unit is one weight; "unit": a unit holds several.
    noun: what records call a unit; "" is the name of the class.
    kinds: of the layers whose weights it may prune.
    reads_sample: `units` runs the model on the sample; if not, a call needs no inputs.
    removes: compact cuts its pruned units out; if not, they are only masked.
    single_units: each set of its units holds one, which may go.
    n_of_m: the groups in which each weight keeps n of m, whatever schedule and allocation say; None
        leaves densities to them.
    """

    granularity: ClassVar[str]
    noun: ClassVar[str] = ""
    kinds: ClassVar[tuple[type[nn.Module], ...]] = (nn.Module,)
    reads_sample: ClassVar[bool] = True
    removes: ClassVar[bool] = False
    single_units: ClassVar[bool] = False

    @property
    def n_of_m(self) -> NOfM | None:
        return None

    @abstractmethod
    def units(self, model: nn.Module, sample: Inputs) -> Units:
        """Returns the units that this structure prunes, by the name of a weight, in model order.

        Units whose removal would remove a model output are left out.

        Raises:
            ValueError: the model has nothing that this structure may prune.
        """

    def check(self, model: nn.Module, units: Units) -> None:  # noqa: B027
        """Checks the structure against the weights to prune, before any training.

        units: without those of excluded layers.

        Raises:
            ValueError: a weight cannot be divided into these units; names layer, key and remedy.
        """

    def select(self, scores: Tensor, keep: int) -> Tensor:
        """Returns True at the `keep` units of a set that stay, given one score per unit.

        A unit of score -inf is pruned already.
        """
        return topk_mask(scores, keep)


class Pattern(Structure):
    """Divides each weight by itself: its units are masked, and nothing else goes with them."""

    reads_sample: ClassVar[bool] = False

    @abstractmethod
    def pool(self, scores: Tensor) -> Tensor:
        """Pools scores of a weight's elements to one score per unit."""

    @abstractmethod
    def expand(self, units: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Expands the mask of a weight's units to its elements, in the weight's shape."""

    def units(self, model: nn.Module, sample: Inputs) -> Units:
        """Returns the units of all weights of layers of the structure's kinds."""
        layers = prunable_layers(model)
        names = [name for name, layer in layers.items() if isinstance(layer, self.kinds)]
        if not names:
            own = type(self).__module__.rpartition(".")[2]
            kinds = ", ".join(sorted({type(layer).__name__ for layer in layers.values()}))
            raise ValueError(
                f"structure={own} has nothing to prune: the model's layers are {kinds}, and "
                f"{self.noun}s of other layers are pruned; use structure=element"
            )
        return self.divide({name: model.get_parameter(name).detach() for name in names})

    def divide(self, weights: Mapping[str, Tensor]) -> Units:
        """Returns the units of these weights."""
        single = self.granularity == "weight"
        return {
            name: WeightUnits(name, tuple(weight.shape), single, self.pool, self.expand)
            for name, weight in weights.items()
        }
