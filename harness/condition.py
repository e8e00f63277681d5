"""All of a network that looking at it might disturb, to be compared before and after."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as of_every_module

from harness.class_code import assigned
from harness.fingerprints import fingerprint
from harness.tensors import Tensors, everything
from harness.unsaved import OF_RNN, OF_TORCH, PLAIN

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_HOOKS_OF_TENSORS = ("_backward_hooks", "_post_accumulate_grad_hooks")
VALUES = "values of "  # before the name of a tensor with other values
_GLOBAL_HOOKS = tuple(f"_global{hooks}" for hooks in _HOOKS)


@dataclass(frozen=True)
class Condition:
    """parameters: the objects themselves, which optimizers and hooks know. digests: of all
    parameters and buffers. rest: what else is said of each; functions and modules as themselves.
    """

    parameters: dict[str, nn.Parameter]
    digests: dict[str, str]
    rest: dict[str, object]

    @classmethod
    def of(cls, network: nn.Module) -> "Condition":
        parameters = dict(network.named_parameters())
        rest = {**_of_parameters(parameters), **_of_modules(network)}
        return cls(parameters, fingerprint(everything(network)), rest)

    def unlike(self, after: "Condition") -> Iterator[str]:
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


def modes_of_torch() -> dict[str, object]:
    """What holds for all networks of the process; callers may change it between two calls."""
    hooks = [len(getattr(of_every_module, name)) for name in _GLOBAL_HOOKS]
    return {
        "torch's grad mode": torch.is_grad_enabled(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "hooks of all modules": hooks,
    }


def _of_parameters(parameters: dict[str, nn.Parameter]) -> dict[str, object]:
    grads: Tensors = {n: p.grad for n, p in parameters.items() if p.grad is not None}
    gradients, rest = fingerprint(grads), dict[str, object]()
    for name, parameter in parameters.items():
        rest[f"gradient of {name}"] = gradients.get(name)
        rest[f"requires_grad of {name}"] = parameter.requires_grad
        rest[f"hooks of {name}"] = [_count(parameter, hooks) for hooks in _HOOKS_OF_TENSORS]
    return rest


def _of_modules(network: nn.Module) -> dict[str, object]:
    """Modes, hooks, the modules themselves, and attributes that decide how each computes.

    Not attributes that the network's own code assigns after it was built: its forward may.
    """
    rest: dict[str, object] = {}
    modules = dict(network.named_modules())
    kinds: set[Any] = {type(module) for module in modules.values()}
    own = frozenset[str]().union(*(assigned(kind) for kind in kinds))
    hidden = (OF_TORCH | OF_RNN | own) - {"forward"}
    for name, module in modules.items():
        shown = name or type(network).__name__
        rest[f"mode of {shown}"] = module.training
        rest[f"hooks of module {shown}"] = [_count(module, hooks) for hooks in _HOOKS]
        rest[f"module {shown}"] = module, type(module)
        for key, value in vars(module).items():
            if key not in hidden and _decides(value):
                kept = tuple(value) if isinstance(value, list) else value
                rest[f"{key} of {shown}"] = type(value), kept
    return rest


def _decides(value: object) -> bool:
    """A plain value, several of them, or a function."""
    if isinstance(value, tuple | list):
        return all(isinstance(one, PLAIN) for one in value)
    return isinstance(value, PLAIN) or callable(value)


def _count(owner: Tensor | nn.Module, hooks: str) -> int:
    return len(getattr(owner, hooks) or ())
