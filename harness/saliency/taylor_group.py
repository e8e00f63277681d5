from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from harness.saliency.base import CalibrationData, Saliency
from harness.saliency.shared.gradient_statistics import (
    at_least_float32,
    check_finite,
    sample_gradients,
    zero_sums,
)
from harness.vocabulary.checks import check_declared
from harness.vocabulary.tensors import Tensors


@dataclass(frozen=True)
class TaylorGroup(Saliency):
    """mean over samples of (sum of w g over the unit)^2: squared change of the loss without it.

    g is the gradient of one sample's loss. The sum is over the unit's rows in all layers that
    compute it; with `structure.pool_over=members` over its columns, biases and norms too. It comes
    before the square, so that changes of one unit in several layers may cancel, where `taylor`
    squares each entry. `structure.pool_by` is not read.

    form: "squared" is the above; "absolute" is the mean over samples of |sum of w g|.

    Source: Molchanov et al. 2019 (arXiv:1906.10771), the joint form of a set of parameters; the
    absolute value is their remark of Molchanov et al. 2017. A gate on a unit's map has the same
    sum, its bias and norm included: `taylor_unit`. Group Fisher (Liu et al. 2021,
    arXiv:2108.00708) is 1/2 of the squared form, summed over the columns of the layers that read
    the unit alone, as their masks are on inputs, and divided by the memory that it saves; see
    `allocation.per`. With members the change is counted where a unit is computed and where it is
    read.

    Raises:
        ValueError: form is unknown.
    """

    form: Literal["squared", "absolute"] = "squared"

    granularity: ClassVar[str] = "unit"
    any_parameter: ClassVar[bool] = True
    adds_units: ClassVar[bool] = True
    needs_loss: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_declared(self)

    def statistics(self, data: CalibrationData) -> Tensors:
        """Returns the scores themselves.

        Raises:
            ValueError: there are no calibration samples on any rank (by `mean`), or a score is not
                finite.
        """
        parameters = {
            name: at_least_float32(data.module.get_parameter(name).detach())
            for name in data.weight_names
        }
        sums, samples = data.unit_sums(zero_sums(parameters)), 0
        size = Tensor.square if self.form == "squared" else Tensor.abs
        for gradients in sample_gradients(data):
            changes = data.unit_sums({n: parameters[n] * g for n, g in gradients.items()})
            for name, change in changes.items():
                sums[name] += size(change)
            samples += 1
        return check_finite(data.mean(sums, samples), "change of the loss by a unit")

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        return dict(statistics)
