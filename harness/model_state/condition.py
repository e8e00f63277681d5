"""Compares all state of a model that a pass through it might change."""

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
VALUES = "values of "  # prefix of the name of a tensor with changed values
_GLOBAL_HOOKS = tuple(f"_global{hooks}" for hooks in _HOOKS)


@dataclass(frozen=True)
class ModelCondition:
    """Holds the state of a model before or after a pass.

    Args:
        parameters: The objects themselves, to which optimizers and hooks refer.
        digests: Digests of all parameters and buffers.
        rest: Other settings by name. Functions and modules are kept as objects.
    """

    parameters: dict[str, nn.Parameter]
    digests: dict[str, str]
    rest: dict[str, object]

    @classmethod
    def of(cls, model: nn.Module) -> "ModelCondition":
        """Reads the condition of a model."""
        parameters = dict(model.named_parameters())
        rest = {name: _kept(value) for name, value in _settings(model).items()}
        return cls(parameters, fingerprint(all_tensors(model)), rest | _gradients(parameters))

    def differences(self, after: "ModelCondition") -> Iterator[str]:
        """Yields what differs afterwards, except buffers that a forward pass has made."""
        for name, parameter in self.parameters.items():
            if after.parameters.get(name) is not parameter:
                yield f"{name} (another parameter)"
        for name in after.parameters.keys() - self.parameters.keys():
            yield f"{name} (new)"
        for name, digest in self.digests.items():
            if after.digests.get(name) != digest:
                yield f"{VALUES}{name}"
        for name in {**self.rest, **after.rest}:
            if self.rest.get(name) != after.rest.get(name):
                yield name


def model_settings(model: nn.Module) -> dict[str, str]:
    """Returns settings of a model beside its parameters and buffers, as text.

    They are equal on all ranks: requires_grad, modes, hooks, classes of modules, attributes that
    decide how each computes, and modes of torch. Gradients are left out, because a training begins
    without them.
    """
    settings = {**_settings(model), **torch_modes()}
    texts = ((name, canonical(value)) for name, value in settings.items())
    return {name: text for name, text in texts if text is not None}


def torch_modes() -> dict[str, object]:
    """Returns settings that apply to all models of the process.

    Callers may change them between calls.
    """
    hooks = [list(getattr(of_every_module, name).values()) for name in _GLOBAL_HOOKS]
    return {
        "torch's grad mode": torch.is_grad_enabled(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "hooks of all modules": hooks,
    }


def _gradients(parameters: dict[str, nn.Parameter]) -> dict[str, object]:
    grads: Tensors = {n: p.grad for n, p in parameters.items() if p.grad is not None}
    digests = fingerprint(grads)
    return {f"gradient of {name}": digests.get(name) for name in parameters}


def _settings(model: nn.Module) -> dict[str, object]:
    """Returns the settings that both comparisons read, as values.

    Attributes that the model's own code assigns after the constructor, or may change in place, are
    left out, because a forward pass may change them.
    """
    settings: dict[str, object] = {}
    for name, parameter in model.named_parameters():
        settings[f"requires_grad of {name}"] = parameter.requires_grad
        settings[f"hooks of {name}"] = [_hooks(parameter, hooks) for hooks in _HOOKS_OF_TENSORS]
    modules = dict(model.named_modules())
    kinds: set[Any] = {type(module) for module in modules.values()}
    own = frozenset[str]().union(*(assigned(kind) for kind in kinds))
    hidden = (OF_TORCH | OF_RNN | own) - {"forward"}
    in_place = any(changes_in_place(kind) for kind in kinds)
    fixed = not any(makes_buffers(kind) for kind in kinds)
    for name, module in modules.items():
        shown = name or type(model).__name__
        settings[f"mode of {shown}"] = module.training
        settings[f"hooks of module {shown}"] = [_hooks(module, hooks) for hooks in _HOOKS]
        settings[f"module {shown}"] = module
        if fixed:
            settings[f"names of buffers of {shown}"] = sorted(module._buffers)
        for key, value in vars(module).items():
            computed = any(key + end in module._parameters for end in ORIGINALS)
            may_change = computed or in_place and isinstance(value, MUTABLE)
            if key not in hidden and not may_change:
                settings[f"{key} of {shown}"] = value
    return settings


def _kept(value: object) -> object:
    """Returns a value for a later comparison: the object if callable, and its present content."""
    itself = value if callable(value) else None
    return itself, type(value), canonical(value)


def _hooks(owner: Tensor | nn.Module, hooks: str) -> list[object]:
    return list((getattr(owner, hooks) or {}).values())
