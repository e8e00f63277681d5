from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from torch import Tensor

from harness.saliency.base import CalibrationData, Saliency
from harness.saliency.shared import derivatives
from harness.saliency.shared.gradient_statistics import (
    BatchNormMode,
    check_finite,
    differentiable_weights,
    mean_gradients,
    zero_sums,
)
from harness.vocabulary.checks import check_declared
from harness.vocabulary.given.inputs import call_model
from harness.vocabulary.nested import iter_tensors, map_tensors
from harness.vocabulary.tensors import Tensors, prunable_layers

TEMPERATURE = "a number above 0; 1 leaves the outputs as they are"


@dataclass(frozen=True)
class GraSP(Saliency):
    """weight x (H g): weights whose removal would reduce the gradient's norm most stay.

    g is the mean gradient of the loss and H its Hessian, over the prunable weights, all samples
    and all ranks, with the model's outputs divided by `temperature` before the loss: each
    floating-point tensor, where it returns several.

    Which sign stays: g^T g changes by 2 d^T H g when the weights move by d. Removing a weight is
    d = -weight, so -weight x (H g) is half of what its removal adds to the gradient's norm. The
    paper removes the largest of these, whose removal helps the gradient to flow. Our scores are
    their negative, since here the highest stay.

    absolute: |weight x (H g)|, so that the weights stay whose removal changes the gradient's norm
    most, either way; Frankle et al. 2021 (arXiv:2009.08576) report better accuracy for it.
    batch_norm: "eval" divides by the running statistics; "train" by those of each batch, as the
    authors' code does. Scores then depend on how the samples are cut into batches.

    Source: Wang et al. 2020, GraSP (arXiv:2002.07376). What their code does otherwise and cannot
    change a ranking: g and H g are sums of the means of two half batches, scores are divided by
    |their sum| + 1e-10. What can and is not copied: it scores a copy whose linear layers are
    initialised anew (Xavier), and it keeps one weight more than requested.

    Raises:
        ValueError: temperature is not a finite number above 0, absolute no bool, or there is no
            such batch_norm.
    """

    temperature: Annotated[float, TEMPERATURE] = 200.0
    absolute: bool = False
    batch_norm: BatchNormMode = "eval"

    needs_loss: ClassVar[bool] = True

    @property
    def signed(self) -> bool:
        return not self.absolute

    def __post_init__(self) -> None:
        check_declared(self)

    def statistics(self, data: CalibrationData) -> Tensors:
        """Returns H g per prunable weight.

        Raises:
            ValueError: there are no calibration samples on any rank (by `mean`), g or H g is
                not finite, or the model returns no tensor that could be divided.
        """

        def softened(outputs: Any, labels: Tensor) -> Tensor:
            return loss(self._softened(outputs), labels)

        loss, names = data.required_loss, tuple(prunable_layers(data.module))
        softened_data = replace(data, batches=list(data.batches), loss=softened, names=names)
        # g is that of all ranks before H is applied to it: the mean of the ranks' own products
        # would be another quantity.
        gradient = mean_gradients(softened_data, self.batch_norm)
        return mean_hessian_product(softened_data, gradient, self.batch_norm)

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        scores = {name: weight * statistics[name] for name, weight in weights.items()}
        return {n: s.abs() for n, s in scores.items()} if self.absolute else scores

    def _softened(self, outputs: Any) -> Any:
        if isinstance(outputs, Tensor):
            return outputs / self.temperature
        if self.temperature != 1 and not any(
            tensor.is_floating_point() for tensor in iter_tensors(outputs)
        ):
            raise ValueError(
                f"GraSP divides the model's outputs by temperature={self.temperature:g}, and in "
                f"{type(outputs).__name__} it finds no floating-point tensor; return tensors, "
                "lists, tuples, dictionaries or dataclasses of them, or take temperature=1"
            )
        return map_tensors(
            outputs,
            lambda tensor: tensor / self.temperature if tensor.is_floating_point() else tensor,
        )


def mean_hessian_product(
    data: CalibrationData, vector: Tensors, batch_norm: str = "eval"
) -> Tensors:
    """Returns H v per weight to score, H the Hessian of the mean loss over samples of all ranks.

    vector: one entry per weight to score, equal on all ranks. batch_norm as in
    `differentiable_weights`.

    Raises:
        ValueError: there are no calibration samples on any rank (by `mean`), or a product is not
            finite.
    """
    loss = data.required_loss
    with differentiable_weights(data.module, data.weight_names, batch_norm) as parameters:
        sums = zero_sums(dict(parameters))
        samples = 0
        for inputs, labels in data.batches:
            with derivatives.differentiable_attention():
                value = loss(call_model(data.module, inputs), labels)
                gradients = derivatives.gradients_of(value, parameters, create_graph=True)
                products = derivatives.hessian_times(gradients, vector, parameters)
            for name, product in products.items():
                sums[name] += product
            samples += len(labels)
    return check_finite(data.mean(sums, samples), "Hessian-vector product")
