"""Measures the forward pass of single layers at several widths."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from harness.groups.layers.sizes import set_sizes
from harness.groups.units import GroupUnits, Units
from harness.metrics.stopwatch import Clock, Step, interleaved, waiting
from harness.vocabulary.checks import check_declared
from harness.vocabulary.given.inputs import Inputs, call_model, clone_inputs
from harness.vocabulary.tensors import prunable_layers

ON_A_QUEUE = 10  # calls between two waits for a GPU, which does them when it comes to them


@dataclass(frozen=True)
class LatencyGrid:
    """Holds the keys of `pruning-harness latency`.

    file: where the table is written.
    batch_size: samples of one forward pass.
    points: widths that are measured of each dimension of a layer, at most.
    repeats: timed calls of each layer at each width.
    warm_up: calls before them, which are not timed.
    overwrite: replaces the file if there is one.

    Raises:
        ValueError: a value is out of range.
    """

    file: Annotated[str, "text of 1 to 4096 characters; write e.g. latency.json"] = "latency.json"
    batch_size: Annotated[int, "a whole number in [1, 65536]"] = 1
    points: Annotated[int, "a whole number in [2, 64]"] = 8
    repeats: Annotated[int, "a whole number in [1, 1000000]"] = 20
    warm_up: Annotated[int, "a whole number in [0, 1000000]"] = 3
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_declared(self)


class Width(NamedTuple):
    """Holds how much of a dimension is left, and which indices; None for all."""

    size: int
    kept: Tensor | None


class Seen(NamedTuple):
    """Holds what a layer did in a forward pass: shapes of its inputs, elements it put out."""

    inputs: tuple[tuple[int, ...], ...]
    elements: int


def widths(units: Units, name: str, dim: int, size: int, points: int) -> list[Width]:
    """Returns the widths of a dimension of a weight to measure, rising to the dense one.

    They are those of equal shares of all units that cut it, at least one unit of each; a number of
    units is a multiple of what the structure rounds to. Blocks that go whole narrow no layer.
    """
    cutting = {
        own: [
            member.indices
            for member in each.group.members
            if (member.name, member.dim) == (name, dim)
        ]
        for own, each in units.items()
        if isinstance(each, GroupUnits)
    }
    cutting = {own: indices for own, indices in cutting.items() if indices}
    found = {size: Width(size, None)}
    for point in range(1, points if cutting else 1):
        flags = torch.ones(size, dtype=torch.bool)
        for own, members in cutting.items():
            kept = _rounded(point, points, units[own])
            for indices in members:
                flags[indices[kept:].flatten()] = False
        left = flags.nonzero().flatten()
        found.setdefault(len(left), Width(len(left), left))
    return [found[width] for width in sorted(found)]


def _rounded(point: int, points: int, units: Any) -> int:
    multiple, count = int(getattr(units, "multiple", 1)), int(units.count)
    kept = round(point * count / points / multiple) * multiple
    return min(count, max(multiple, kept))


def smaller(layer: nn.Module, first: Width, second: Width) -> nn.Module:
    """Returns a copy of a layer with these parts of its weight's first two dimensions.

    Raises:
        ValueError: groups of a convolution are left with unequal widths.
    """
    copy = deepcopy(layer)
    outputs = second if getattr(copy, "transposed", False) else first
    for name in ("weight", "bias"):
        if (tensor := getattr(copy, name)) is None:
            continue
        value = tensor.detach()
        for dim, width in enumerate((first, second) if name == "weight" else (outputs,)):
            if width.kept is not None:
                value = value.index_select(dim, width.kept.to(value.device))
        setattr(copy, name, nn.Parameter(value.contiguous(), requires_grad=False))
    cut = {"weight": (first.kept, second.kept)}
    set_sizes(copy, cut)
    return copy


def step_of(layer: nn.Module, inputs: Sequence[tuple[int, ...]]) -> Step:
    """Returns a step that calls the layer once with each of these inputs, at its own width.

    inputs: shapes of the dense layer's inputs.
    """
    weight: Any = layer.weight
    stream = torch.Generator().manual_seed(0)
    made = []
    for shape in inputs:
        at = len(shape) - weight.dim() + 1 if isinstance(layer, _ConvNd) else len(shape) - 1
        width: Any = layer.in_channels if isinstance(layer, _ConvNd) else layer.in_features
        values = torch.randn([*shape[:at], width, *shape[at + 1 :]], generator=stream)
        made.append(values.to(weight.device, weight.dtype))
    return several(lambda: [layer(each) for each in made], weight.device)


def several(call: Callable[[], object], device: torch.device) -> Step:
    """Returns a step of `calls_on(device)` calls."""
    return waiting(call, device, calls_on(device))


def calls_on(device: torch.device) -> int:
    """Returns how many calls one step makes: on a GPU several, so that waiting counts little."""
    return ON_A_QUEUE if device.type == "cuda" else 1


def timed(
    sides: Mapping[str, Step], options: LatencyGrid, device: torch.device, clock: Clock
) -> dict[str, list[float]]:
    """Returns the seconds of one call of each side; the sides take turns."""
    with torch.no_grad():
        found = interleaved(sides, options.repeats, options.warm_up, clock)
    calls = calls_on(device)
    return {name: [each / calls for each in seconds] for name, seconds in found.items()}


def seen_layers(model: nn.Module, inputs: Inputs) -> dict[str, Seen]:
    """Returns what each layer that is called as a module does in this forward pass, by weight.

    A layer whose weight is used without it, as in nn.MultiheadAttention, is not among them.
    """
    layers, shapes = prunable_layers(model), dict[str, list[tuple[int, ...]]]()
    elements: dict[str, int] = {}
    with torch.no_grad(), _hooks(layers, shapes, elements):
        call_model(model, clone_inputs(inputs))
    return {name: Seen(tuple(shapes[name]), elements[name]) for name in layers if name in shapes}


@contextmanager
def _hooks(
    layers: Mapping[str, nn.Module],
    shapes: dict[str, list[tuple[int, ...]]],
    elements: dict[str, int],
) -> Iterator[None]:
    def watch(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            shapes.setdefault(name, []).append(tuple(args[0].shape))
            elements[name] = elements.get(name, 0) + output.numel()

        return hook

    handles = [layer.register_forward_hook(watch(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
