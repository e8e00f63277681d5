"""Measures gradients on data, as sums and sample counts, so that ranks can average them."""

from abc import ABC
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from harness.saliency.base import CalibrationData, Saliency
from harness.saliency.shared.derivatives import gradients_of
from harness.vocabulary.checks import check_declared
from harness.vocabulary.finite import is_finite
from harness.vocabulary.given.errors import first_line
from harness.vocabulary.given.inputs import call_model, split_samples
from harness.vocabulary.recomputation import differentiable_checkpoints
from harness.vocabulary.tensors import Tensors, eval_mode, prunable_layers
from harness.vocabulary.undisturbed import deepcopy_model

# What a BatchNorm divides by while gradients are taken: its running statistics, or those of the
# batch, which then depend on how the samples are cut into batches.
BatchNormMode = Literal["eval", "train"]


@dataclass(frozen=True)
class MeanGradientSaliency(Saliency, ABC):
    """Scores weights by the mean gradient over all calibration samples of all ranks.

    Raises:
        ValueError: batch_norm is neither.
    """

    batch_norm: BatchNormMode = "eval"

    any_parameter: ClassVar[bool] = True
    needs_loss: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_declared(self)

    def statistics(self, data: CalibrationData) -> Tensors:
        return mean_gradients(data, self.batch_norm)


def in_float32(model: nn.Module) -> nn.Module:
    """Returns the model, or a copy in float32 if it holds float16 or bfloat16.

    The one rule of half precision: a model is scored in float32, by its own weights as they are
    rounded. In half precision small gradients and squares would be 0, and sums would stop to
    grow. The copy takes 4 bytes for each such entry beside the model.
    """
    if not any(_is_narrow(tensor) for tensor in chain(model.parameters(), model.buffers())):
        return model
    whole = deepcopy_model(model)
    whole._apply(lambda tensor: tensor.float() if _is_narrow(tensor) else tensor)
    return whole


@contextmanager
def explain_dtype_errors(model: nn.Module, whole: nn.Module) -> Iterator[None]:
    """Replaces torch's error about two dtypes by one that names the cast.

    Such an error comes from a forward that casts by itself, inside a float32 copy `whole`.

    Raises:
        ValueError: torch refused two dtypes.
    """
    try:
        yield
    except RuntimeError as error:
        if whole is model or "dtype" not in str(error).lower():
            raise
        raise ValueError(
            f"{type(model).__name__} holds half precision, so a copy of it in float32 is scored, "
            f"and its forward casts to another dtype ({first_line(error)}); cast to the "
            "dtype of the weights there (x.to(self.weight.dtype)), or give model.float()"
        ) from error


def _is_narrow(tensor: Tensor) -> bool:
    return tensor.dtype in (torch.float16, torch.bfloat16)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Returns the tensor in float32, or the tensor itself if it is as wide."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


@contextmanager
def differentiable_weights(
    model: nn.Module, names: Iterable[str] = (), batch_norm: str = "eval"
) -> Iterator[dict[str, nn.Parameter]]:
    """Yields these weights by name, or all prunable ones, ready for gradients.

    Frozen weights are included.

    Inside, gradients are on and the model is in eval mode, but for BatchNorm when batch_norm is
    "train". Outside, modes, requires_grad and buffers are as they were, also after an error.
    Ask `gradients_of` for gradients: backward() would write into the model.

    Raises:
        ValueError: a weight is complex.
    """
    requested = tuple(names) or prunable_layers(model)
    parameters = {name: model.get_parameter(name) for name in requested}
    for name, parameter in parameters.items():
        if parameter.is_complex():
            raise ValueError(
                f"{name} is {parameter.dtype}, and gradients rank real weights only; rank it by "
                "saliency=magnitude, or keep its real and imaginary parts in layers of their own"
            )
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    trainable = {name: parameter.requires_grad for name, parameter in parameters.items()}
    with eval_mode(model), torch.enable_grad(), differentiable_checkpoints():
        try:
            for norm in norms:
                norm.train(batch_norm == "train")
            for parameter in parameters.values():
                parameter.requires_grad_(True)
            yield parameters
        finally:
            for name, requires_grad in trainable.items():
                parameters[name].requires_grad_(requires_grad)


def mean_gradients(data: CalibrationData, batch_norm: str = "eval") -> Tensors:
    """Returns the gradient of the mean loss over all samples of all ranks, per weight to score.

    Dropout is off; batch_norm as in `differentiable_weights`. Signed: the sum over batches comes
    before any absolute value. A weight that the loss does not depend on has gradient 0.

    Raises:
        ValueError: there are no calibration samples on any rank (by `mean`), or a gradient is
            not finite.
    """
    loss = data.required_loss
    with differentiable_weights(data.module, data.weight_names, batch_norm) as parameters:
        sums = zero_sums(dict(parameters))
        samples = 0
        for inputs, labels in data.batches:
            gradients = gradients_of(loss(call_model(data.module, inputs), labels), parameters)
            torch._foreach_add_(list(sums.values()), list(gradients.values()))
            samples += len(labels)
    return check_finite(data.mean(sums, samples), "gradient")


def sample_gradients(data: CalibrationData) -> Iterator[dict[str, Tensor]]:
    """Yields the gradient of each sample's own loss, one sample after the other, in eval mode.

    It serves what is squared per sample, which then does not depend on batches and ranks.
    """
    loss = data.required_loss
    with differentiable_weights(data.module, data.weight_names) as parameters:
        for inputs, labels in data.batches:
            for one, label in zip(split_samples(inputs, 1), labels.split(1), strict=True):
                value = loss(call_model(data.module, one), label)
                yield gradients_of(value, parameters)


def mean_squared_gradients(data: CalibrationData) -> Tensors:
    """Returns the mean over samples of (gradient of the sample's own loss)^2.

    The result is in float32 at least.

    The diagonal of the empirical Fisher matrix, in the shape of each weight asked for. The
    square of a batch's mean gradient would be another quantity, about 1 / batch size of it.

    Raises:
        ValueError: there are no calibration samples on any rank (by `mean`), or a square is not
            finite.
    """
    sums = zero_sums({name: data.module.get_parameter(name) for name in data.weight_names})
    samples = 0
    for gradients in sample_gradients(data):
        for name, gradient in gradients.items():
            sums[name].addcmul_(at_least_float32(gradient), at_least_float32(gradient))
        samples += 1
    return check_finite(data.mean(sums, samples), "squared gradient")


def zero_sums(weights: Mapping[str, Tensor]) -> Tensors:
    """Returns zeros of the weights' shapes, in float32 at least."""
    return {
        name: weight.new_zeros(weight.shape, dtype=torch.promote_types(weight.dtype, torch.float32))
        for name, weight in weights.items()
    }


def check_finite(statistics: Tensors, quantity: str) -> Tensors:
    """Returns the statistics if all entries are finite.

    Raises:
        ValueError: an entry is not finite; it names the tensor.
    """
    for name, value in statistics.items():
        if not is_finite(value):
            raise ValueError(
                f"the {quantity} of {name} is not finite on the calibration samples; look for a "
                "loss that overflows or a weight that is NaN"
            )
    return statistics
