from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.saliency.base import CalibrationData, Saliency
from harness.vocabulary.tensors import Tensors, eval_mode, prunable_layers


@dataclass(frozen=True)
class InputScaled(Saliency):
    """|weight| x (root mean square of the input that it multiplies) ** power, of linear layers.

    Source: after Wanda (Sun et al. 2023, arXiv:2306.11695), which ranks within each output only;
    here the allocation decides what competes. power=0 is magnitude.

    Raises:
        ValueError: power is below 0, or the model has a convolution.
    """

    power: float = 1.0

    def __post_init__(self) -> None:
        if self.power < 0:
            raise ValueError(f"power must be at least 0, got {self.power}; 0 is magnitude")

    def statistics(self, data: CalibrationData) -> Tensors:
        model, layers = data.module, prunable_layers(data.module)
        sums = {name: torch.zeros_like(_linear(name, layers[name]).weight[0]) for name in layers}
        samples = 0
        with ExitStack() as stack, torch.no_grad():
            stack.enter_context(eval_mode(model))
            for name, layer in layers.items():
                stack.enter_context(layer.register_forward_pre_hook(_adder(sums[name])))
            for inputs, labels in data.batches:
                model(inputs)
                samples += len(labels)
        return data.mean(sums, samples)

    def score(self, weights: Tensors, statistics: Tensors) -> Tensors:
        # The root comes after the mean over all ranks, or 1 and 2 ranks would rank differently.
        return {
            name: weight.abs() * statistics[name].sqrt() ** self.power
            for name, weight in weights.items()
        }


def _adder(total: Tensor) -> Callable[[nn.Module, tuple[Tensor]], None]:
    """Returns a hook that adds up a layer's squared inputs (samples, features), per feature."""

    def add(layer: nn.Module, inputs: tuple[Tensor]) -> None:
        total.add_(inputs[0].square().sum(dim=0))

    return add


def _linear(name: str, layer: nn.Module) -> nn.Linear:
    if not isinstance(layer, nn.Linear):
        raise ValueError(
            f"input_scaled knows linear layers only, and {name} is a {type(layer).__name__}; "
            "use another saliency"
        )
    return layer
