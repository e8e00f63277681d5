"""Says which norms over removed units compute the same function in the smaller network, and how.

| norm | without removed units |
| --- | --- |
| BatchNorm, InstanceNorm; whole groups of GroupNorm | the same function |
| RMSNorm over C units of which C' stay | the same with weight x sqrt(C / C') and eps x C / C' |
| LayerNorm, GroupNorm of one group | another one, unless its statistics are of the units left |
| any other | refused |

The mean square over C units, C - C' of which are 0, is C' / C times that over the C' units left.
So w x / sqrt(C' / C m + eps) = w sqrt(C / C') x / sqrt(m + eps C / C').
"""

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

EPSILONS = ("eps", "variance_epsilon", "epsilon")

Treatment = Literal["rescaled", "living", "refused"]


def treatment(norm: nn.Module) -> Treatment:
    """Returns how a norm that takes statistics over removed units is made exact."""
    if is_rms_norm(norm):
        return "rescaled"
    one_group = isinstance(norm, nn.GroupNorm) and norm.num_groups == 1
    return "living" if one_group or isinstance(norm, nn.LayerNorm) else "refused"


def is_rms_norm(norm: nn.Module) -> bool:
    """Returns True if the module computes weight x / sqrt(mean(x^2) + eps), whatever its class."""
    own = {name: p for name, p in norm.named_parameters() if p is not None}
    if list(own) != ["weight"] or own["weight"].dim() != 1 or epsilon_name(norm) is None:
        return False
    return isinstance(norm, nn.RMSNorm) or _computes_rms(norm)


def epsilon_name(norm: nn.Module) -> str | None:
    """Returns the name of the attribute that holds the norm's epsilon."""
    return next((name for name in EPSILONS if hasattr(norm, name)), None)


def rescale_factor(units: int, left: int) -> float:
    """Returns the factor of the weights of an RMSNorm: sqrt(C / C')."""
    return math.sqrt(units / left)


def rescaled(weight: Tensor, factor: float) -> Tensor:
    """Returns weight x factor, rounded once: the proof compares with it bit for bit."""
    return (weight.double() * factor).to(weight.dtype)


class ScaledOutput:
    """y = factor x layer(x): a forward hook of an RMSNorm or query layer that has lost units.

    The factor is that of its parameters, which so keep the values, the optimizer's state and the
    decay that they have in the masked network.
    """

    in_checkpoints = True

    def __init__(self, factor: float):
        self.factor = factor

    def __call__(self, layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output * self.factor


def add_scales(model: nn.Module, scales: Mapping[str, float]) -> None:
    """Multiplies outputs of layers by these factors; scales: by name of the layer's parameters."""
    factors = {name.rpartition(".")[0]: factor for name, factor in scales.items()}
    for layer, factor in factors.items():
        model.get_submodule(layer).register_forward_hook(ScaledOutput(factor))


def remove_scales(model: nn.Module, scales: Iterable[str]) -> None:
    """Removes what `add_scales` added."""
    for name in scales:
        hooks = model.get_submodule(name.rpartition(".")[0])._forward_hooks
        for key in [key for key, hook in hooks.items() if isinstance(hook, ScaledOutput)]:
            del hooks[key]


def rescaled_epsilon(norm: nn.Module, units: int, left: int) -> tuple[str, Any, float]:
    """Returns the name of the epsilon, its value, and the value for the units that are left.

    An epsilon of None is that of the weights' dtype, as in torch.
    """
    name = epsilon_name(norm)
    assert name is not None
    old = getattr(norm, name)
    weight: Any = norm.weight
    value = torch.finfo(weight.dtype).eps if old is None else old
    return name, old, value * units / left


@torch.no_grad()
def _computes_rms(norm: nn.Module) -> bool:
    twin: Any = copy.deepcopy(norm).double()
    # Three dimensions: a norm of dimension 1, of channels, is another one.
    values = torch.linspace(-1.0, 2.0, 6 * len(twin.weight)).view(2, 3, -1).to(twin.weight)
    mean_square = values.square().mean(-1, keepdim=True)
    epsilon = getattr(twin, str(epsilon_name(norm)))
    try:
        output = twin(values)
    except (RuntimeError, TypeError, ValueError):
        return False
    expected = twin.weight * values * (mean_square + epsilon).rsqrt()
    return output.shape == expected.shape and torch.allclose(output, expected.to(output), 1e-5)
