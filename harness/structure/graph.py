"""Which layers make the network's outputs, and which norm follows which layer: from autograd."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness.tensors import evaluating, prunable_layers

Node = Any  # torch.autograd.graph.Node; its next_functions are untyped

# Between a layer's operation and its weight there may be a transposition or a cast, no more.
RESHAPES = ("TBackward0", "TransposeBackward0", "PermuteBackward0", "ToCopyBackward0")


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
    norms: dict[str, tuple[str, ...]] = {}
    for node in _nodes(root):
        owned = [name for name in _owned(node, names) if name not in layers]
        if owned and not _layer(node, names, layers):
            feeders = _feeders(_children(node), names, layers)
            _claim(norms, model, feeders, owned)
    return Graph(frozenset(_feeders([root], names, layers)), norms)


def _claim(
    norms: dict[str, tuple[str, ...]], model: nn.Module, feeders: set[str], owned: list[str]
) -> None:
    if len(feeders) != 1:
        return
    feeder = feeders.pop()
    units = model.get_parameter(feeder).shape[0]
    if all(model.get_parameter(name).shape == (units,) for name in owned):
        norms[feeder] = norms.get(feeder, ()) + tuple(owned)


def _backward_graph(model: nn.Module, sample: Tensor) -> Node:
    trainable = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        # Frozen parameters would be invisible; in eval mode no running statistic moves.
        model.requires_grad_(True)
        with evaluating(model), torch.enable_grad():
            return model(sample).grad_fn
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
        new = [child for child in _children(node) if child not in seen]
        seen.update(new)
        stack.extend(new)
    return found
