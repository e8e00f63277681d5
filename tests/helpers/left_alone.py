"""Checks that reading a model has changed nothing of it."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Returns all of a model that a saliency might change, and the global random state."""
    return {
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "grads": {n: None if p.grad is None else p.grad.clone() for n, p in named(model)},
        "trainable": {n: p.requires_grad for n, p in named(model)},
        "modes": {name: module.training for name, module in model.named_modules()},
        "hooks": sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()),
        "random": torch.get_rng_state(),
    }


def named(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return model.named_parameters()


def check_same(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
