"""Keeps masks by parameter name; independent of training and ranks."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from harness.vocabulary.bitpack import digest
from harness.vocabulary.tensors import Tensors

# Integer type of the same width, by bytes per element.
INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class MaskStore:
    """Keeps the masks in force by parameter name. Masks only shrink, unless `may_grow` is set.

    Masks are not module buffers: DDP would broadcast rank 0's buffers before every forward pass and
    hide differing masks. A pruned weight is zeroed once, and its gradient at every step. Its
    optimizer state is zeroed too. SGD (momentum, Nesterov) and Adam(W), weight decay included, then
    leave the weight at exactly 0. A revived weight therefore starts at 0, and without momentum.

    may_grow: `replace` may revive pruned weights. on_change: called with the masks after each
    change.
    """

    def __init__(self, dense: Mapping[str, Tensor], may_grow: bool = False):
        self._may_grow = may_grow
        self._masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in dense.items()}
        self._factors: Tensors | None = None  # computed at the first step after a change
        self.on_change: Callable[[Tensors], None] | None = None

    @property
    def masks(self) -> Tensors:
        """Returns the masks themselves, True stays. Callers must not write to them."""
        return self._masks

    @property
    def digest(self) -> str:
        """Returns SHA-256 over names and packed bits, first 16 hex digits."""
        return digest(self._masks)

    def shrink_to(self, masks: Tensors) -> None:
        """Replaces masks by smaller ones.

        Raises:
            ValueError: a mask would revive a pruned weight, or names an unknown parameter.
        """
        masks = self._checked(masks)
        for name, mask in masks.items():
            revived = int((mask & ~self._masks[name]).count_nonzero())
            if revived:
                raise ValueError(
                    f"{name}: the new mask revives {revived} pruned weights; keep at most as many "
                    "units as are alive"
                )
        self._set(masks)

    def replace(self, masks: Tensors) -> None:
        """Replaces masks by ones that may revive pruned weights; these are 0 until they train.

        Raises:
            ValueError: masks may not grow here, or a mask has an unknown name or another shape.
        """
        if not self._may_grow:
            raise ValueError(
                "masks only shrink here: neither schedule nor mask_updates of this run declares "
                "may_grow; choose one that does, such as schedule=ac_dc or mask_updates=rigl"
            )
        self._set(self._checked(masks))

    def _checked(self, masks: Tensors) -> Tensors:
        """Returns the masks on the devices of those in force; checks names and shapes."""
        for name, mask in masks.items():
            in_force = self._masks.get(name)
            if in_force is None or in_force.shape != mask.shape:
                problem = (
                    "there is none" if in_force is None else f"it has shape {tuple(in_force.shape)}"
                )
                raise ValueError(
                    f"{name}: a mask of shape {tuple(mask.shape)} needs one of that name and shape "
                    f"in force, {problem}; is it of another model?"
                )
        return {name: mask.to(self._masks[name].device) for name, mask in masks.items()}

    def _set(self, masks: Tensors) -> None:
        self._masks.update(masks)
        self._factors = None
        if self.on_change:
            self.on_change(self._masks)

    @torch.no_grad()
    def apply_to(self, model: nn.Module, optimizer: Optimizer | None = None) -> None:
        """Zeroes pruned parameters, and every optimizer state of a parameter's shape."""
        for name, mask in self._masks.items():
            parameter = model.get_parameter(name)
            _zero_outside(mask, parameter)
            for state in _states(optimizer, parameter):
                _zero_outside(mask, state)

    def gradient_masker(self, model: nn.Module) -> Callable[[], None]:
        """Returns a function that zeroes the gradients of pruned weights, to call at every step.

        The function makes one fused multiplication with masks in the gradients' dtype, which are
        cached until masks change.
        """
        parameters = {name: model.get_parameter(name) for name in self._masks}

        def mask_gradients() -> None:
            grads, factors = [], []
            for name, factor in self._factors_for(parameters).items():
                grad = parameters[name].grad
                if grad is not None:
                    grads.append(grad)
                    factors.append(factor)
            if grads:
                torch._foreach_mul_(grads, tuple(factors))

        return mask_gradients

    def _factors_for(self, parameters: dict[str, nn.Parameter]) -> Tensors:
        if self._factors is None:
            pruned = {name: mask for name, mask in self._masks.items() if not mask.all()}
            self._factors = {name: m.to(parameters[name].dtype) for name, m in pruned.items()}
        return self._factors


def _zero_outside(mask: Tensor, tensor: Tensor) -> None:
    # Multiplying the bits is several times as fast as masked_fill_. A product of the numbers
    # would be NaN for 0 * inf, and -0 for 0 * -1.
    tensor.detach().view(INTEGERS[tensor.element_size()]).mul_(mask)


def _states(optimizer: Optimizer | None, parameter: nn.Parameter) -> list[Tensor]:
    if optimizer is None or parameter not in optimizer.state:
        return []
    states = optimizer.state[parameter].values()
    return [s for s in states if isinstance(s, Tensor) and s.shape == parameter.shape]
