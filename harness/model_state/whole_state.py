"""Reads and loads the whole state of a model for files: parameters and all buffers.

state_dict leaves out buffers that are registered with persistent=False. A model that computes with
them would be another one after loading.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from harness.model_state.class_code import makes_buffers
from harness.vocabulary.tensors import Tensors, distinct, has_extra_state

EXTRA = "_extra_state"  # torch's name


def whole_state(model: nn.Module) -> Tensors:
    """Returns every parameter and buffer by name, not copied, in state_dict's order.

    Shared tensors appear under all their names, and buffers that are None are left out. The result
    of a module's get_extra_state is included.

    Raises:
        ValueError: get_extra_state returns no tensor, or a parameter or buffer is sparse or
            quantized.
    """
    state: Tensors = {}
    for path, module in _modules(model):
        state |= _named(path, module._parameters)
        state |= _named(path, module._buffers)
        state |= _extra_state(path, module)
    return state


def buffers_of(model: nn.Module) -> Tensors:
    """Returns every buffer by name, as `whole_state` does."""
    every = [_named(path, module._buffers) for path, module in _modules(model)]
    return {name: buffer for buffers in every for name, buffer in buffers.items()}


@torch.no_grad()
def load_into(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Loads a whole state into the model, in place. The inverse of `whole_state`.

    Raises:
        ValueError: A parameter's name or shape is not the model's, or a buffer belongs to no
            module.
    """
    own = dict(model.named_parameters(remove_duplicate=False))
    extra = {name for path, module in _modules(model) for name in _extra_state(path, module)}
    rest = {name: value for name, value in state.items() if name not in own and name not in extra}
    unmatched = sorted((own.keys() | extra) - state.keys()) + sorted(
        rest.keys() - _buffer_names(model, rest)
    )
    if unmatched:
        raise ValueError(
            f"{unmatched[0]} is in one only of the stored state and {type(model).__name__}: it is "
            "the state of another model; build the model that it was stored from"
        )
    for name, parameter in own.items():
        if parameter.shape != state[name].shape:
            raise ValueError(
                f"{name} has shape {tuple(state[name].shape)} in the stored state and "
                f"{tuple(parameter.shape)} in {type(model).__name__}; build the model that it "
                "was stored from"
            )
        parameter.copy_(state[name])
    load_buffers(model, rest)
    for name in extra:
        _owner(model, name).set_extra_state(state[name])


def load_in_stored_dtype(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Loads a whole state into the model, in place, in the dtype of the stored parameters.

    Buffers keep their own dtypes: BatchNorm counts batches in int64.

    Raises:
        ValueError: as of `load_into`.
    """
    named = (state.get(name) for name, _ in model.named_parameters())
    dtypes = [value.dtype for value in named if value is not None and value.is_floating_point()]
    load_into(model.to(dtypes[0]) if dtypes else model, state)


@torch.no_grad()
def load_buffers(model: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    """Loads buffers into the model, in place where shape and dtype are equal.

    The inverse of `buffers_of`. A buffer that is not given becomes None. Some forward passes
    register the buffers that they need; such a buffer is registered now. In place, because other
    objects may refer to the tensor. A forward pass may have replaced it, and an expanded one cannot
    be written.
    """
    device = next((parameter.device for parameter in model.parameters()), None)
    for name in sorted(_slots(model) | _buffer_names(model, buffers)):
        owner, key = _owner(model, name), name.rpartition(".")[2]
        if key not in owner._buffers:
            owner.register_buffer(key, None)
        current, saved = owner._buffers[key], buffers.get(name)
        if current is None or saved is None:
            owner._buffers[key] = None if saved is None else saved.detach().to(device, copy=True)
        elif (distinct(current).shape, current.dtype) == (saved.shape, saved.dtype):
            current.copy_(saved)
        else:
            owner._buffers[key] = saved.detach().to(current.device, copy=True)


def _slots(model: nn.Module) -> set[str]:
    """Returns the names of all registered buffers, also of those that are None."""
    return {_name(path, key) for path, module in _modules(model) for key in module._buffers}


def _buffer_names(model: nn.Module, buffers: Iterable[str]) -> set[str]:
    """Returns the names that belong to buffers, or may be registered by a module's method."""
    kinds: dict[str, Any] = {path: type(module) for path, module in _modules(model)}
    makers = {path for path, kind in kinds.items() if makes_buffers(kind)}
    slots, names = _slots(model), set[str]()
    for name in buffers:
        path, _, key = name.rpartition(".")
        if name in slots or (path in makers and not hasattr(_owner(model, name), key)):
            names.add(name)
    return names


def _extra_state(path: str, module: nn.Module) -> Tensors:
    if not has_extra_state(module):
        return {}
    value = module.get_extra_state()
    if not isinstance(value, Tensor):
        raise ValueError(
            f"{path or type(module).__name__} returns {type(value).__name__} from "
            "get_extra_state, and a file of weights holds tensors only; return a tensor, or "
            "register what it is as a buffer"
        )
    return {_name(path, EXTRA): value.detach()}


def _named(path: str, tensors: Mapping[str, Tensor | None]) -> Tensors:
    state = {_name(path, key): t.detach() for key, t in tensors.items() if t is not None}
    for name, tensor in state.items():
        kind = tensor.dtype if tensor.is_quantized else tensor.layout
        if kind is not torch.strided:
            raise ValueError(
                f"{name} is {kind}, and files of weights hold dense tensors only; register it "
                "dense (to_dense(), dequantize()) and convert it in forward, or keep it as a plain "
                "attribute"
            )
    return state


def _name(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return iter(model.named_modules(remove_duplicate=False))


def _owner(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])
