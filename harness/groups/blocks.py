"""Finds residual blocks, which a network can do without: f(x) = x where their parameters are 0."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from harness.groups.proving.pair import REFUSALS
from harness.groups.proving.values import random_inputs, random_values
from harness.groups.tracing.traceable import traceable, writable
from harness.vocabulary.given.errors import first_line
from harness.vocabulary.given.inputs import call_model
from harness.vocabulary.nested import map_tensors
from harness.vocabulary.tensors import Tensors, fixed_mode
from harness.vocabulary.undisturbed import deepcopy_model


@dataclass(frozen=True)
class Block:
    """Holds a residual block.

    Args:
        name: path of its module.
        parameters: names of all parameters inside.
        pinned: why it cannot be removed, or "".
    """

    name: str
    parameters: tuple[str, ...]
    pinned: str = ""


def residual_blocks(model: nn.Module, example_input: Any) -> tuple[Block, ...]:
    """Returns the residual blocks of a model, in model order, those that must stay included.

    A block is an innermost module that is called with one tensor, returns one of the same shape,
    and returns its input, bit by bit, when all of its parameters are 0. That is tried on what the
    module is called with in a pass, in eval and in train mode, with the model's own weights and
    with random ones. The model comes back as it was.

    example_input: as of `groups_of`.
    """
    found = _returning(model, example_input)
    if found:
        other = deepcopy_model(model)
        with torch.no_grad():
            for name, value in random_values(model).items():
                _tensor(other, name).copy_(value)
        found &= _returning(other, random_inputs(example_input))
    inner = [name for name in found if not any(o.startswith(f"{name}.") for o in found)]
    order = [name for name, _ in model.named_modules() if name in inner]
    blocks = [Block(name, *_own(model, name)) for name in order]
    return tuple(_pinned(model, blocks, example_input))


def without_blocks(model: nn.Module, blocks: Iterable[str]) -> nn.Module:
    """Returns a copy with nn.Identity in place of these modules; the model itself for none."""
    names = tuple(blocks)
    if not names:
        return model
    smaller = deepcopy_model(model)
    for name in names:
        path, _, leaf = name.rpartition(".")
        parent = smaller.get_submodule(path)
        parent._modules[leaf] = nn.Identity().train(parent.training)
    return smaller


def masked_blocks(model: nn.Module, masks: Tensors, example_input: Any) -> tuple[str, ...]:
    """Returns the names of the residual blocks of which masks leave nothing.

    Raises:
        ValueError: such a block cannot be removed.
    """
    gone = {name for name, mask in masks.items() if not mask.any()}
    names = (name for name, _ in model.named_modules() if name)
    if not any((own := _own(model, name)[0]) and gone.issuperset(own) for name in names):
        return ()
    return tuple(
        block.name
        for block in residual_blocks(model, example_input)
        if gone.issuperset(block.parameters) and not block.pinned
    )


def _own(model: nn.Module, name: str) -> tuple[tuple[str, ...], str]:
    """Returns the names of the parameters in a module, and why it must stay, or ""."""
    inside = {id(p) for p in model.get_submodule(name).parameters()}
    first: dict[int, str] = {}
    for path, parameter in model.named_parameters(remove_duplicate=False):
        first.setdefault(id(parameter), path)
        if id(parameter) in inside and not path.startswith(f"{name}."):
            return (), f"its parameter {first[id(parameter)]} is used outside as {path}"
    return tuple(path for key, path in first.items() if key in inside), ""


def _returning(model: nn.Module, example_input: Any) -> set[str]:
    """Returns modules that give their input back at each call when their parameters are 0."""
    found: dict[str, bool] = {}
    handles, running = [], list[str]()
    with traceable(model):
        try:
            for name, module in model.named_modules():
                if name and next(module.parameters(), None) is not None:
                    hook = _trying(found, running, name)
                    handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
            with fixed_mode(model, False):
                call_model(model, map_tensors(example_input, writable))
        finally:
            for handle in handles:
                handle.remove()
    return {name for name, returns in found.items() if returns}


def _trying(found: dict[str, bool], running: list[str], name: str) -> Callable[..., None]:
    """Returns a hook that tries a module; running: the one that is tried, whose parts are not."""

    def try_out(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if not found.get(name, True) or running:
            return
        running.append(name)
        try:
            given = len(args) == 1 and not kwargs and isinstance(args[0], Tensor)
            found[name] = False  # also if it fails
            with suppress(*REFUSALS):
                found[name] = given and _returns(module, args[0].detach())
        finally:
            running.pop()

    return try_out


@torch.no_grad()
def _returns(module: nn.Module, inputs: Tensor) -> bool:
    zeros = {name: torch.zeros_like(p) for name, p in module.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    for training in (False, True):
        # What the example does not allow in train mode is not for the blocks to say.
        with suppress(*REFUSALS if training else ()), fixed_mode(module, training):
            output = functional_call(module, {**zeros, **buffers}, (inputs.clone(),))
            same = isinstance(output, Tensor) and output.shape == inputs.shape
            if not same or not torch.equal(output, inputs):
                return False
    return True


def _pinned(model: nn.Module, blocks: list[Block], example_input: Any) -> Iterator[Block]:
    """Yields the blocks, with a reason where the model does not run without one."""
    if _fails_without(model, [b.name for b in blocks if not b.pinned], example_input):
        for block in blocks:
            why = "" if block.pinned else _fails_without(model, [block.name], example_input)
            yield Block(block.name, block.parameters, block.pinned or why)
    else:
        yield from blocks


def _fails_without(model: nn.Module, names: list[str], example_input: Any) -> str:
    smaller = without_blocks(model, names)
    try:
        with traceable(smaller), fixed_mode(smaller, False), torch.no_grad():
            call_model(smaller, map_tensors(example_input, writable))
    except REFUSALS as error:
        return f"the model fails without it ({first_line(error)})"
    return ""


def _tensor(model: nn.Module, name: str) -> Tensor:
    path, _, leaf = name.rpartition(".")
    tensor: Tensor = getattr(model.get_submodule(path), leaf)
    return tensor
