"""What saliencies measure on data. Sums and sample counts, so that ranks can average them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from harness.tensors import Batch, Loss, Mean, Tensors, prunable_layers

# What a BatchNorm divides by while evidence is taken: its running statistics, or those of the
# batch, which then depend on how the samples are cut into batches.
BATCH_NORM = ("eval", "train")


def check_batch_norm(mode: str) -> None:
    """
    Raises:
        ValueError: mode is not in BATCH_NORM.
    """
    if mode not in BATCH_NORM:
        raise ValueError(f"batch_norm must be {' or '.join(BATCH_NORM)}, got {mode!r}")


@contextmanager
def probing(model: nn.Module, batch_norm: str = "eval") -> Iterator[dict[str, nn.Parameter]]:
    """The prunable weights by name, all of them ready for gradients; frozen ones too.

    Inside, gradients are on and the model is in eval mode, but for BatchNorm when batch_norm is
    "train". Outside, modes, requires_grad and statistics are as they were, also after an error.
    Ask torch.autograd.grad for gradients: backward() would write into the model.
    """
    parameters = {name: model.get_parameter(name) for name in prunable_layers(model)}
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    modes = [(module, module.training) for module in model.modules()]
    trainable = {name: parameter.requires_grad for name, parameter in parameters.items()}
    moving = norms if batch_norm == "train" else []
    statistics = [(buffer, buffer.clone()) for norm in moving for buffer in norm.buffers()]
    try:
        model.eval()
        for norm in norms:
            norm.train(batch_norm == "train")
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        with torch.enable_grad():
            yield parameters
    finally:
        for name, requires_grad in trainable.items():
            parameters[name].requires_grad_(requires_grad)
        for module, training in modes:
            module.training = training
        for buffer, before in statistics:
            buffer.copy_(before)


def mean_gradients(
    model: nn.Module, batches: Iterable[Batch], loss: Loss, mean: Mean, batch_norm: str = "eval"
) -> Tensors:
    """Gradient of the mean loss over all calibration samples of all ranks, per prunable weight.

    Dropout is off; batch_norm as in `probing`. Signed: the sum over batches comes before any
    absolute value. A weight that the loss does not depend on has gradient 0.

    Raises:
        ValueError: there are no calibration samples on any rank (by `mean`), or a gradient is
            not finite.
    """
    with probing(model, batch_norm) as parameters:
        sums = {name: torch.zeros_like(p) for name, p in parameters.items()}
        samples = 0
        for inputs, labels in batches:
            gradients = torch.autograd.grad(
                loss(model(inputs), labels), list(parameters.values()), materialize_grads=True
            )
            torch._foreach_add_(list(sums.values()), list(gradients))
            samples += len(labels)
    return checked(mean(sums, samples), "gradient")


def sample_gradients(
    model: nn.Module, batches: Iterable[Batch], loss: Loss
) -> Iterator[dict[str, Tensor]]:
    """The gradient of each sample's own loss, one sample after the other, in eval mode.

    For what is squared per sample: the same whatever the batches and ranks.
    """
    with probing(model) as parameters:
        for inputs, labels in batches:
            for one in range(len(labels)):
                value = loss(model(inputs[one : one + 1]), labels[one : one + 1])
                gradients = torch.autograd.grad(
                    value, list(parameters.values()), materialize_grads=True
                )
                yield dict(zip(parameters, gradients, strict=True))


def checked(evidence: Tensors, what: str) -> Tensors:
    """
    Raises:
        ValueError: an entry is not finite; it names the tensor.
    """
    for name, value in evidence.items():
        if value.numel() and not all(extreme.isfinite() for extreme in value.aminmax()):
            raise ValueError(
                f"the {what} of {name} is not finite on the calibration samples; look for a loss "
                "that overflows or a weight that is NaN"
            )
    return evidence
