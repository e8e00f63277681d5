"""Which layers make the network's outputs, and which norm follows which layer: from autograd."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness.tensors import evaluating, prunable_layers

Node = Any  # torch.autograd.graph.Node; its next_functions are untyped

# Between a layer's operation and its weight there may be a transposition or a cast, no more.
RESHAPES = (
    "TBackward0", "TransposeBackward0", "PermuteBackward0", "ToCopyBackward0", "RepeatBackward0",
)  # fmt: skip
INPUT = "the network's input"  # among the feeders of a norm


@dataclass(frozen=True)
class Graph:
    outputs: frozenset[str]  # weights whose units are (or are added into) network outputs
    norms: dict[str, tuple[str, ...]]  # weight -> scale and shift of the norm it alone feeds


def graph_of(model: nn.Module, sample: Tensor) -> Graph:
    """Reads the model's backward graph for one batch; the model comes back as it was.

    `sample`: inputs (samples, ...). Works on any model that runs forward, control flow included.
    """
    root = _backward_graph(model, sample)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    layers = set(prunable_layers(model))
    fed_by: dict[tuple[str, ...], set[str]] = {}  # a norm that is called twice has all feeders
    for node in _nodes(root):
        owned = tuple(name for name in _owned(node, names) if name not in layers)
        if owned and not _layer(node, names, layers):
            found = _feeders(_children(node), names, layers)
            fed_by[owned] = fed_by.get(owned, set()) | found
    norms: dict[str, tuple[str, ...]] = {}
    for owned, feeders in fed_by.items():
        _claim(norms, model, feeders, owned)
    return Graph(frozenset(_feeders([root], names, layers) - {INPUT}), norms)


def _claim(
    norms: dict[str, tuple[str, ...]], model: nn.Module, feeders: set[str], owned: tuple[str, ...]
) -> None:
    if len(feeders) != 1 or INPUT in feeders:
        return
    feeder = feeders.pop()
    units = model.get_parameter(feeder).shape[0]
    if all(model.get_parameter(name).shape == (units,) for name in owned):
        norms[feeder] = norms.get(feeder, ()) + owned


def _backward_graph(model: nn.Module, sample: Tensor) -> Node:
    trainable = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        # Frozen parameters would be invisible; in eval mode no running statistic moves.
        model.requires_grad_(True)
        with evaluating(model), torch.enable_grad():
            # An input added to a layer's units is seen only if it needs a gradient; cloned once
            # more because a model may write into its input.
            seen = sample.detach().clone().requires_grad_(sample.is_floating_point())
            return model(seen.clone()).grad_fn
    finally:
        for parameter, requires_grad in trainable.items():
            parameter.requires_grad_(requires_grad)


def _children(node: Node) -> list[Node]:
    return [child for child, _ in node.next_functions if child is not None]


def _nodes(root: Node) -> Iterator[Node]:
    seen, stack = {root}, [root]
    while stack:
        node = stack.pop()
        yield node
        new = [child for child in _children(node) if child not in seen]
        seen.update(new)
        stack.extend(new)


def _parameter(node: Node, names: dict[int, str]) -> str | None:
    while type(node).__name__ in RESHAPES and _children(node):
        node = _children(node)[0]
    return names.get(id(node.variable)) if hasattr(node, "variable") else None


def _owned(node: Node, names: dict[int, str]) -> list[str]:
    if type(node).__name__ in RESHAPES:
        return []
    found = (_parameter(child, names) for child in _children(node))
    return [name for name in found if name is not None]


def _layer(node: Node, names: dict[int, str], layers: set[str]) -> str | None:
    return next((name for name in _owned(node, names) if name in layers), None)


def _feeders(start: Iterable[Node], names: dict[int, str], layers: set[str]) -> set[str]:
    found: set[str] = set()
    seen = set(start)
    stack = list(seen)
    while stack:
        node = stack.pop()
        layer = _layer(node, names, layers)
        if layer is not None:
            found.add(layer)
            continue
        # A looked-up embedding is what its integer input cannot be: the start of a gradient path.
        lookup = type(node).__name__ == "EmbeddingBackward0"
        if lookup or (hasattr(node, "variable") and id(node.variable) not in names):
            found.add(INPUT)
        new = [child for child in _children(node) if child not in seen]
        seen.update(new)
        stack.extend(new)
    return found
