from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from harness.saliency.base import CalibrationData, Saliency
from harness.saliency.shared import derivatives
from harness.saliency.shared.curvature import LIMIT, check_memory
from harness.saliency.shared.gradient_statistics import (
    at_least_float32,
    check_finite,
    differentiable_weights,
    zero_sums,
)
from harness.vocabulary.checks import check_declared
from harness.vocabulary.given.inputs import call_model
from harness.vocabulary.seeds import derive
from harness.vocabulary.tensors import Companions, Tensors, prunable_weights

# What becomes of negative curvature.


@dataclass(frozen=True)
class Hutchinson(Saliency):
    """w^2 h / 2, h the diagonal of the exact Hessian of the mean loss, estimated.

    Optimal Brain Damage (LeCun et al. 1989) with h = mean over `probes` random sign vectors v of
    v * (H v) (Bekas et al. 2007, An estimator for the diagonal of a matrix). H is taken over the
    prunable weights, all of them together; the error of h_i falls with 1 / sqrt(probes), and is
    0 where row i of H has no other entry. HAP (Yu et al. 2021, arXiv:2101.08940) uses 300 probes.

    probes: random vectors; the cost grows with them.
    seed: of the vectors, which are the same on every rank and device and at every level.
    negative: h may be below 0, also in a minimum of the training loss as reached in practice.
        "signed": the estimated loss change as it is, so that weights whose removal is expected
        to lower the loss go first. "absolute": its absolute value, how much the loss is bent.
        "subtract_min": less the smallest score of the tensor, as the exact diagonal in the
        WoodFisher authors' code (Singh & Alistarh 2020, arXiv:2004.14340): within a tensor the
        order of "signed", between tensors another one.
    memory_limit_gb: what this may take beside model and activations, in GB (10^9 bytes).

    Raises:
        ValueError: a field is out of range.
    """

    seed: int
    probes: Annotated[int, "a whole number in [1, 1000000]"] = 100
    negative: Literal["signed", "absolute", "subtract_min"] = "signed"
    memory_limit_gb: Annotated[float, LIMIT] = 8.0

    needs_loss: ClassVar[bool] = True

    @property
    def signed(self) -> bool:
        return self.negative == "signed"

    def __post_init__(self) -> None:
        check_declared(self)

    def statistics(self, data: CalibrationData) -> Tensors:
        """Returns the estimated diagonal of the Hessian, by weight.

        Raises:
            ValueError: there are no calibration samples on any rank (by `mean`), or the diagonal
                is not finite.
        """
        self.check(data.module, data.selected_units)
        loss, samples = data.required_loss, 0
        with (
            differentiable_weights(data.module) as parameters,
            derivatives.differentiable_attention(),
        ):
            sums = zero_sums(dict(parameters))
            for inputs, labels in data.batches:
                self._add(sums, loss(call_model(data.module, inputs), labels), parameters)
                samples += len(labels)
        return check_finite(data.mean(sums, samples), "diagonal of the Hessian")

    def check(self, model: nn.Module, units: Companions) -> None:
        """Logs the memory that it takes for all layers, before any training.

        It takes sums, gradients, a probe and products of the weights' shapes. The graph of a
        batch's gradients comes on top.

        Raises:
            ValueError: it is more than memory_limit_gb.
        """
        shapes = {name: tuple(w.shape) for name, w in prunable_weights(model).items()}
        work = 3 * sum(w.numel() for w in prunable_weights(model).values())
        remedy = "use saliency=fisher, which takes first derivatives only"
        check_memory("saliency hutchinson", shapes, work, self.memory_limit_gb, remedy)

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        changes = {
            n: at_least_float32(weight).square() * statistics[n] / 2
            for n, weight in weights.items()
        }
        if self.negative == "absolute":
            return {name: change.abs() for name, change in changes.items()}
        if self.negative == "subtract_min":
            return {name: change - change.min() for name, change in changes.items()}
        return changes

    def _add(self, sums: Tensors, value: Tensor, parameters: Mapping[str, Tensor]) -> None:
        """Adds the mean over probes of v * (H v), H of this batch's summed loss."""
        gradients = derivatives.gradients_of(value, parameters, create_graph=True)
        for probe in range(self.probes):
            signs = self._signs(probe, parameters)
            for name, product in derivatives.hessian_times(gradients, signs, parameters).items():
                # The mean over batches and ranks commutes with the product: v is the same for
                # all, and a product with +-1 is exact.
                sums[name] += signs[name] * product / self.probes

    def _signs(self, probe: int, parameters: Mapping[str, Tensor]) -> Tensors:
        signs = {}
        for name, parameter in parameters.items():
            stream = torch.Generator().manual_seed(derive(self.seed, "saliency", name, probe))
            # Drawn on the CPU, so that they are the same on every device.
            bits = torch.randint(0, 2, parameter.shape, generator=stream, dtype=torch.int8)
            signs[name] = (2 * bits - 1).to(parameter)
        return signs
