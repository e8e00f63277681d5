from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from harness.saliency.base import CalibrationData
from harness.saliency.shared.activations import UnitSaliency, mean_of_maps
from harness.vocabulary.checks import check_declared
from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class MeanActivation(UnitSaliency):
    """mean over samples and positions of |a|: weak units are pruned first; (units,) each.

    activation: "relu": a = relu(z), of the unit's map z that `mean_of_maps` names; "none": a = z,
    for models without ReLU. What the model itself does with z does not matter.

    Source: the activation criterion that Molchanov et al. 2017 compare with (arXiv:1611.06440).
    No division by the layer's norm: with global_ranking layers of large activations win.

    Raises:
        ValueError: activation is unknown.
    """

    activation: Literal["relu", "none"] = "relu"

    layer_local: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_declared(self)

    def statistics(self, data: CalibrationData) -> Tensors:
        return mean_of_maps(data, self._of_map)

    def _of_map(self, z: Tensor) -> Tensor:
        a = z.relu() if self.activation == "relu" else z.abs()
        return a.flatten(1).mean(1)
