from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from harness.saliency.base import CalibrationData, Saliency
from harness.saliency.shared.curvature import by_group, to_score_dtype
from harness.saliency.shared.layer_inputs import layer_statistics, mean_over_inputs
from harness.vocabulary.checks import check_declared
from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class RelativeImportance(Saliency):
    """(|w_ij| / sum of its row + |w_ij| / sum of its column) x ||X_j|| ** power, within a layer.

    Source: Zhang et al. 2024, Plug-and-Play: An Efficient Post-training Pruning Method for Large
    Language Models (ICLR 2024), relative importance and activations.

    Raises:
        ValueError: power is out of range.
    """

    power: Annotated[float, "a number in [0, 10]"] = 0.5

    layer_local: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_declared(self)

    def statistics(self, data: CalibrationData) -> Tensors:
        return mean_over_inputs(data, lambda inputs: inputs.square().sum(dim=1))

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        return {
            n: self._of(weight, layer_statistics(n, statistics)) for n, weight in weights.items()
        }

    def _of(self, weight: Tensor, squares: Tensor) -> Tensor:
        rows = by_group(weight.abs().double(), squares)
        # A row or a column without a weight left has no share to give.
        shares = sum(rows / rows.sum(dim, keepdim=True).clamp(min=1e-30) for dim in (-1, -2))
        return to_score_dtype(
            (shares * squares[:, None] ** (self.power / 2)).reshape(weight.shape), weight
        )
