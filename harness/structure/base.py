from typing import Protocol

from torch import Tensor, nn

Units = dict[str, tuple[str, ...]]  # prunable weight -> parameters that go with its units


class Structure(Protocol):
    """How the weights of a model fall into the units that are kept or removed whole."""

    @property
    def granularity(self) -> str:
        """ "weight": a unit is one weight; "unit": a unit holds several."""
        ...

    def units(self, model: nn.Module, sample: Tensor) -> Units:
        """The weights this structure prunes, in model order, with what goes along.

        A parameter that goes along (bias, norm scale and shift) has one entry per unit, so the
        unit mask is its mask. Units whose removal would remove a network output are left out.

        Raises:
            ValueError: the model has nothing that this structure may prune.
        """
        ...

    def pool(self, scores: Tensor) -> Tensor:
        """Scores of a weight's elements -> one score per unit."""
        ...

    def expand(self, units: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Mask of a weight's units -> mask of its elements, in the weight's shape."""
        ...
