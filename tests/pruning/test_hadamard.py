"""Compares our masking with a layer whose forward multiplies its weight by a mask.

The layer is PrunableDense of M. Politi, "Iterative Pruning Methods for Artificial Neural Networks
in Julia": the output is sigma((W * M) x + b).
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import SGD, Adam, AdamW, Optimizer

from harness.pruning.masks import MaskStore

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 4), (8, 6)),
    "convolution": (lambda: nn.Conv2d(3, 4, 3, padding=1), (8, 3, 5, 5)),
}
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": lambda parameters: SGD(parameters, lr=0.1),
    "momentum": lambda parameters: SGD(
        parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01
    ),
    "adam": lambda parameters: Adam(parameters, lr=0.01),
    "adamw": lambda parameters: AdamW(parameters, lr=0.01, weight_decay=0.1),
}


class Hadamard(nn.Module):
    """Multiplies a weight by its mask in every forward pass."""

    def __init__(self, mask: Tensor):
        super().__init__()
        self.mask = mask

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


def _pair(kind: str) -> tuple[nn.Module, nn.Module, MaskStore, Tensor]:
    """Returns a layer of products, the same layer under our masks, the masks, and inputs."""
    torch.manual_seed(0)
    make, shape = LAYERS[kind]
    ours, product = make(), make()
    product.load_state_dict(ours.state_dict())
    weight = ours.get_parameter("weight")
    mask = weight.abs() > weight.abs().median()
    parametrize.register_parametrization(product, "weight", Hadamard(mask))
    masks = MaskStore({"weight": weight})
    masks.shrink_to({"weight": mask})
    masks.apply_to(ours)
    return product, ours, masks, torch.randn(shape)


def _backward(layer: nn.Module, inputs: Tensor) -> Tensor:
    layer.zero_grad()
    outputs: Tensor = layer(inputs)
    outputs.relu().square().sum().backward()
    return outputs


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _raw(product: nn.Module) -> Tensor:
    return product.get_parameter("parametrizations.weight.original")


@pytest.mark.parametrize("kind", LAYERS)
def test_weight_times_mask_has_our_outputs_and_our_gradients(kind: str) -> None:
    product, ours, masks, inputs = _pair(kind)

    outputs, own_outputs = _backward(product, inputs), _backward(ours, inputs)
    masks.gradient_masker(ours)()

    assert torch.equal(outputs, own_outputs)
    assert ours.get_parameter("weight").count_nonzero() == masks.masks["weight"].count_nonzero()
    assert torch.equal(_gradient(_raw(product)), _gradient(ours.get_parameter("weight")))
    assert torch.equal(
        _gradient(product.get_parameter("bias")), _gradient(ours.get_parameter("bias"))
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", LAYERS)
def test_weight_times_mask_trains_to_our_weights(kind: str, optimizer: str) -> None:
    product, ours, masks, inputs = _pair(kind)
    first = ours.get_parameter("weight").detach().clone()
    optimizers = [OPTIMIZERS[optimizer](layer.parameters()) for layer in (product, ours)]
    mask_gradients = masks.gradient_masker(ours)

    for _ in range(5):
        _backward(product, inputs)
        _backward(ours, inputs)
        mask_gradients()
        for each in optimizers:
            each.step()

    assert not torch.equal(ours.get_parameter("weight"), first)
    assert torch.equal(_raw(product) * masks.masks["weight"], ours.get_parameter("weight"))
    assert torch.equal(product.get_parameter("bias"), ours.get_parameter("bias"))


def test_a_product_keeps_raw_weights_that_ours_sets_to_zero() -> None:
    product, ours, masks, _ = _pair("linear")
    pruned = ~masks.masks["weight"]

    assert _raw(product)[pruned].all()
    assert not ours.get_parameter("weight")[pruned].any()
