"""Defines tensors and counts by parameter name, batches, and helpers for them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from harness.vocabulary.given.inputs import Inputs

Tensors = dict[str, Tensor]  # "layer1.0.conv1.weight" -> tensor of that weight's shape
Counts = dict[str, int]  # "layer1.0.conv1.weight" -> number of units
# Weight to score -> biases and norm parameters that go with its rows.
Companions = dict[str, tuple[str, ...]]
Batch = tuple[Inputs, Tensor]  # inputs, labels: each (samples, ...)
Loss = Callable[[Tensor, Tensor], Tensor]  # outputs, labels -> loss SUMMED over the samples
Mean = Callable[[Tensors, int], Tensors]  # (sums, samples) -> sums over ranks / samples over ranks

# Methods that return the parts of a sparse tensor, by layout.
SPARSE = {
    torch.sparse_coo: ("_indices", "_values"),
    **dict.fromkeys(
        (torch.sparse_csr, torch.sparse_bsr), ("crow_indices", "col_indices", "values")
    ),
    **dict.fromkeys(
        (torch.sparse_csc, torch.sparse_bsc), ("ccol_indices", "row_indices", "values")
    ),
}

PRUNABLE = (nn.Linear, _ConvNd)
TABLES = (nn.Embedding, nn.EmbeddingBag)


def local_mean(sums: Tensors, samples: int) -> Tensors:
    """Returns sums / samples: the `Mean` of one process.

    Raises:
        ValueError: samples is 0.
    """
    if samples < 1:
        raise ValueError(f"no calibration samples (got {samples}); ask for at least 1")
    return {name: total / samples for name, total in sums.items()}


def prunable_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Returns parameter name -> layer for the weight of every convolution and linear layer.

    The classifier is included; biases and norms are not. A weight that several layers share appears
    once, under its first name. A weight whose first holder is a layer of another kind does not
    appear, nor does one that an embedding uses, nor one without entries (a layer of width 0).

    Raises:
        ValueError: The model has no such layer, a lazy one, or one whose weight is computed.
    """
    own = dict(model.named_parameters())
    for name, layer in model.named_modules():
        if isinstance(layer, PRUNABLE) and "weight" not in layer._parameters:
            raise ValueError(
                f"layer {name or type(layer).__name__} computes its weight from others "
                "(weight_norm, a parametrization, torch.nn.utils.prune); make it plain first: "
                "remove_parametrizations, prune.remove, or harness.from_torch_prune"
            )
    layers: dict[str, nn.Module] = {
        f"{name}.weight".removeprefix("."): layer
        for name, layer in model.named_modules()
        if isinstance(layer, PRUNABLE)
    }
    tables = {id(m.weight) for m in model.modules() if isinstance(m, TABLES)}
    prunable = {n: layer for n, layer in layers.items() if n in own and id(own[n]) not in tables}
    lazy = [name for name in prunable if is_lazy(own[name])]
    if lazy:
        raise ValueError(f"{lazy[0]} has no values yet; run one batch through the model first")
    prunable = {name: layer for name, layer in prunable.items() if own[name].numel()}
    if not prunable:
        raise ValueError(f"{type(model).__name__} has no Conv or Linear layer to prune")
    return prunable


def prunable_weights(model: nn.Module) -> Tensors:
    """Returns the weights themselves (detached, not copied), by parameter name."""
    return {name: model.get_parameter(name).detach() for name in prunable_layers(model)}


def all_tensors(model: nn.Module) -> Tensors:
    """Returns all parameters and buffers, detached, by name.

    Buffers that no checkpoint holds are included.
    """
    every = (*model.named_parameters(), *model.named_buffers())
    return {name: tensor.detach() for name, tensor in every}


def attribute_tensors(part: object) -> Tensors:
    """Returns the tensors in a component's attributes, alone or in lists and dicts.

    For a function these are the tensors of its closure, for a method those of its object.
    """
    owner = getattr(part, "__self__", part)
    cells = getattr(owner, "__closure__", None) or ()
    inside = {str(number): cell.cell_contents for number, cell in enumerate(cells)}
    name = getattr(owner, "__qualname__", type(owner).__name__)
    return dict(_tensors(name, {**getattr(owner, "__dict__", {}), **inside}))


def _tensors(name: str, value: object) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value.detach()
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _tensors(f"{name}.{key}", item)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _tensors(f"{name}.{number}", item)


def dense_parts(tensor: Tensor) -> list[Tensor]:
    """Returns the dense tensors that hold the tensor.

    These are itself, the indices and values of a sparse tensor, or the whole numbers, scales and
    zero points of a quantized one.

    >>> [part.tolist() for part in dense_parts(torch.tensor([0.0, 7.0]).to_sparse())]
    [[[1]], [7.0]]
    """
    if tensor.is_quantized:
        return [tensor.detach().int_repr(), *_quantizer(tensor)]
    made = SPARSE.get(tensor.layout, ())
    return [getattr(tensor.detach(), part)() for part in made] or [tensor]


def _quantizer(tensor: Tensor) -> list[Tensor]:
    if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        numbers = [tensor.q_scale(), float(tensor.q_zero_point())]
        return [torch.tensor(numbers, dtype=torch.float64, device=tensor.device)]
    axis = torch.tensor([tensor.q_per_channel_axis()], device=tensor.device)
    return [tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points(), axis]


def has_extra_state(module: nn.Module) -> bool:
    """Returns True if the module's class defines get_extra_state."""
    return type(module).get_extra_state is not nn.Module.get_extra_state


def clone_tensors(tensors: Tensors) -> Tensors:
    """Returns contiguous copies that share no memory, as safetensors requires."""
    whole = torch.contiguous_format
    return {name: t.detach().clone(memory_format=whole) for name, t in tensors.items()}


def distinct(tensor: Tensor) -> Tensor:
    """Returns a view of the elements with their own memory, without the repeats of expand.

    Nothing may write to these repeats.

    >>> distinct(torch.ones(3, 1).expand(3, 6)).shape
    torch.Size([3, 1])
    """
    if tensor.layout is not torch.strided:
        return tensor
    for dim, stride in enumerate(tensor.stride()):
        if stride == 0 and tensor.shape[dim] > 1:
            tensor = tensor.narrow(dim, 0, 1)
    return tensor


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Sets eval mode inside the context.

    Restores each module's mode and buffers afterwards, also after an error.
    """
    with fixed_mode(model, training=False):
        yield


@contextmanager
def fixed_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Sets the mode inside the context.

    Restores each module's mode and buffers afterwards, also after an error. Buffers, because the
    forward pass of some models writes to them in eval mode too (counters, the state of spiking or
    recurrent units). A measurement must not change the model.
    """
    # Module by module, because model.train() would also change modules frozen in eval mode.
    modes = [(module, module.training) for module in model.modules()]
    with preserve_buffers(model):
        model.train() if training else model.eval()
        try:
            yield
        finally:
            for module, before in modes:
                module.training = before


@contextmanager
def preserve_buffers(model: nn.Module) -> Iterator[None]:
    """Restores buffer objects and values after the context, also after an error."""
    buffers = [
        (module._buffers, name, buffer, _values(buffer))
        for module in model.modules()
        for name, buffer in module._buffers.items()
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for owner, name, buffer, values in buffers:
                owner[name] = buffer  # a forward pass may have replaced it
                if buffer is not None and values is not None and not buffer.requires_grad:
                    distinct(buffer).copy_(values)


@contextmanager
def preserve_parameters(model: nn.Module) -> Iterator[None]:
    """Restores parameter values after the context, also after an error.

    A forward pass in training mode may write to them (codebooks, averages, clipped weights).
    """
    before = [(parameter, _values(parameter)) for parameter in model.parameters()]
    try:
        yield
    finally:
        for parameter, values in before:
            now = distinct(parameter.detach())
            if values is not None and not _are_equal(now, values):
                now.copy_(values)


def _are_equal(left: Tensor, right: Tensor) -> bool:
    return all(map(torch.equal, dense_parts(left), dense_parts(right)))


def _values(buffer: Tensor | None) -> Tensor | None:
    return None if buffer is None else distinct(buffer.detach()).clone()
