"""All of a network that looking at it might disturb, to be compared before and after."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as of_every_module

from harness.model_state.attributes import OF_RNN, OF_TORCH, ORIGINALS
from harness.model_state.canonical import canonical
from harness.model_state.class_code import assigned, changes_in_place, makes_buffers
from harness.model_state.fingerprints import fingerprint
from harness.vocabulary.tensors import Tensors, all_tensors

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_HOOKS_OF_TENSORS = ("_backward_hooks", "_post_accumulate_grad_hooks")
MUTABLE = (list, dict, set, Tensor, np.ndarray)
VALUES = "values of "  # before the name of a tensor with other values
_GLOBAL_HOOKS = tuple(f"_global{hooks}" for hooks in _HOOKS)


@dataclass(frozen=True)
class ModelCondition:
    """parameters: the objects themselves, which optimizers and hooks know. digests: of all
    parameters and buffers. rest: what else is said of each; functions and modules as themselves.
    """

    parameters: dict[str, nn.Parameter]
    digests: dict[str, str]
    rest: dict[str, object]

    @classmethod
    def of(cls, network: nn.Module) -> "ModelCondition":
        parameters = dict(network.named_parameters())
        rest = {name: _kept(value) for name, value in _manner(network).items()}
        return cls(parameters, fingerprint(all_tensors(network)), rest | _gradients(parameters))

    def differences(self, after: "ModelCondition") -> Iterator[str]:
        """What is not the same afterwards; buffers that a forward has made for itself are."""
        for name, parameter in self.parameters.items():
            if after.parameters.get(name) is not parameter:
                yield f"{name} (another parameter)"
        for name in after.parameters.keys() - self.parameters.keys():
            yield f"{name} (new)"
        for name, digest in self.digests.items():
            if after.digests.get(name) != digest:
                yield f"{VALUES}{name}"
        for what in {**self.rest, **after.rest}:
            if self.rest.get(what) != after.rest.get(what):
                yield what


def model_settings(network: nn.Module) -> dict[str, str]:
    """How a network computes beside its parameters and buffers, in words: equal on all ranks.

    What is trained, modes, hooks, classes of modules, attributes that decide how each computes,
    and modes of torch. Gradients are left out: a training begins without.
    """
    every = {**_manner(network), **torch_modes()}
    said = ((name, canonical(value)) for name, value in every.items())
    return {name: text for name, text in said if text is not None}


def torch_modes() -> dict[str, object]:
    """What holds for all networks of the process; callers may change it between two calls."""
    hooks = [list(getattr(of_every_module, name).values()) for name in _GLOBAL_HOOKS]
    return {
        "torch's grad mode": torch.is_grad_enabled(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "hooks of all modules": hooks,
    }


def _gradients(parameters: dict[str, nn.Parameter]) -> dict[str, object]:
    grads: Tensors = {n: p.grad for n, p in parameters.items() if p.grad is not None}
    found = fingerprint(grads)
    return {f"gradient of {name}": found.get(name) for name in parameters}


def _manner(network: nn.Module) -> dict[str, object]:
    """What both comparisons look at, with its values themselves.

    Not attributes that the network's own code assigns after it was built, nor what it may change
    in place: its forward may.
    """
    found: dict[str, object] = {}
    for name, parameter in network.named_parameters():
        found[f"requires_grad of {name}"] = parameter.requires_grad
        found[f"hooks of {name}"] = [_hooks(parameter, hooks) for hooks in _HOOKS_OF_TENSORS]
    modules = dict(network.named_modules())
    kinds: set[Any] = {type(module) for module in modules.values()}
    own = frozenset[str]().union(*(assigned(kind) for kind in kinds))
    hidden = (OF_TORCH | OF_RNN | own) - {"forward"}
    in_place = any(changes_in_place(kind) for kind in kinds)
    fixed = not any(makes_buffers(kind) for kind in kinds)
    for name, module in modules.items():
        shown = name or type(network).__name__
        found[f"mode of {shown}"] = module.training
        found[f"hooks of module {shown}"] = [_hooks(module, hooks) for hooks in _HOOKS]
        found[f"module {shown}"] = module
        if fixed:
            found[f"names of buffers of {shown}"] = sorted(module._buffers)
        for key, value in vars(module).items():
            computed = any(key + end in module._parameters for end in ORIGINALS)
            may_change = computed or in_place and isinstance(value, MUTABLE)
            if key not in hidden and not may_change:
                found[f"{key} of {shown}"] = value
    return found


def _kept(value: object) -> object:
    """To be compared with what is there later: objects as themselves, and what they hold now."""
    itself = value if callable(value) else None
    return itself, type(value), canonical(value)


def _hooks(owner: Tensor | nn.Module, hooks: str) -> list[object]:
    return list((getattr(owner, hooks) or {}).values())
