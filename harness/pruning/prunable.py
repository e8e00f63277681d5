"""Finds what of a model is pruned: the weights of a structure's units without excluded layers."""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from harness.allocation.base import LayerOrder
from harness.groups.units import Units, weights_of
from harness.pruning.coverage import units_in_use, warn_uncovered
from harness.pruning.graph.graph import Graph
from harness.pruning.masks import MaskStore
from harness.structure.base import Structure
from harness.vocabulary.given.inputs import Inputs
from harness.vocabulary.tensors import Tensors, prunable_layers


def make_mask_store(
    model: nn.Module, units: Units, may_grow: bool = False, also: Iterable[str] = ()
) -> MaskStore:
    """Returns masks, all True, of all parameters of which the units own entries.

    also: further parameters, of which nothing is pruned but by masks that are given.
    """
    prunable = {name for each in units.values() for name in each.masked}
    prunable.update(also)
    parameters = {n: p for n, p in model.named_parameters() if n in prunable}
    return MaskStore(parameters, may_grow)


def first_names(model: nn.Module, masks: Tensors) -> Tensors:
    """Returns the masks under the first names of their parameters, which may be shared.

    Raises:
        ValueError: a mask is of no parameter, or two of one parameter differ.
    """
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    every = {n: first[id(p)] for n, p in model.named_parameters(remove_duplicate=False)}
    found: Tensors = {}
    for name, mask in masks.items():
        if name not in every:
            inner = next((own for own in every if own.endswith(f".{name}")), None)
            hint = f"its name here is {inner!r}; " if inner else ""
            raise ValueError(
                f"masks has {name!r}, which is no parameter of {type(model).__name__}; {hint}give "
                "the masks of this model, by parameter name"
            )
        other = found.setdefault(every[name], mask)
        if not torch.equal(other.to(mask.device), mask):
            raise ValueError(
                f"masks[{name!r}] and masks[{every[name]!r}] are of one shared parameter and "
                "differ; give one of them"
            )
    return found


@torch.no_grad()
def copy_into(model: nn.Module, values: Tensors) -> None:
    """Copies new values of some parameters into the model."""
    for name, value in values.items():
        model.get_parameter(name).copy_(value)


def units_of(structure: Structure, model: nn.Module, sample: Inputs, graph: Graph | None) -> Units:
    """Returns the structure's units of layers in use, and logs parameters that no rule covers.

    graph: None if there is no sample to run the model with.

    Raises:
        ValueError: there are no units.
    """
    known_layers = layers_known_to(structure, model)
    # A structure of whole units never removes a unit of the model's outputs.
    spared = set(graph.outputs) if graph and structure.granularity == "unit" else set[str]()
    units = structure.units(model, sample)  # refuses a model that has none
    cut = {name for each in units.values() for name in each.masked}
    warn_uncovered(model, {*known_layers, *spared, *cut})
    if graph is not None:
        units = units_in_use(units, known_layers, model, sample, graph)
    if not units:
        raise ValueError(
            "nothing to prune: the model uses none of the layers that this structure prunes"
        )
    return units


def layer_order_of(model: nn.Module, graph: Graph | None) -> LayerOrder | None:
    """Returns the order of layers from the graph, or from a plain chain of torch's layers.

    The result is None if the order is unknown without a forward pass.
    """
    if graph is not None:
        return LayerOrder(graph.order, graph.first, graph.outputs)
    if not _is_chain(model):
        return None
    names = tuple(prunable_layers(model))
    return LayerOrder(names, frozenset(names[:1]), frozenset(names[-1:]))


def _is_chain(module: nn.Module) -> bool:
    """True for an nn.Sequential of torch's own layers, where registration order is call order."""
    if type(module) is nn.Sequential:
        return len(set(module)) == len(module) and all(map(_is_chain, module))
    return type(module).__module__.startswith("torch.nn.") and not list(module.children())


def layers_known_to(structure: Structure, model: nn.Module) -> list[str]:
    """Returns the weights of all layers of the structure's kinds, also of those it leaves whole."""
    layers = prunable_layers(model)
    return [name for name, layer in layers.items() if isinstance(layer, structure.kinds)]


def exclude_layers(
    units: Units,
    exclude: Sequence[str],
    layer_order: LayerOrder | None,
    known_layers: Iterable[str] = (),
) -> Units:
    """Returns the units without those of excluded weights: "first", "last", or names.

    "first" are the layers that read nothing but the model's input, "last" those that compute its
    outputs, in any order of registration. If they have no units, nothing is excluded. Units that
    several layers compute together stay whole if one of these is excluded. A name is
    that of the layer ("fc1") or of its weight ("fc1.weight"). A name in `known_layers` may be left
    whole anyway, such as a head that works in training only.

    Raises:
        ValueError: a name is no prunable layer's, nothing is left to prune, or first and last
            layers are unknown.
    """
    names = list(dict.fromkeys([*weights_of(units), *known_layers]))
    meanings = {name: {name} for name in names}
    meanings |= {name.removesuffix(".weight"): {name} for name in names}
    if layer_order is not None:
        meanings |= {"first": set(layer_order.first), "last": set(layer_order.last)}
    for word in exclude:
        if word in ("first", "last"):
            _check_seen(word, layer_order)
        elif word not in meanings:
            raise ValueError(
                f"exclude names {word!r}, which is no layer that this structure prunes; "
                f"there are: first, last, {', '.join(names)}"
            )
    excluded = set[str]().union(*(meanings[word] for word in exclude))
    included = {name: each for name, each in units.items() if excluded.isdisjoint(each.weights)}
    if not included:
        raise ValueError(f"exclude={list(exclude)} leaves nothing to prune; exclude fewer layers")
    return included


def _check_seen(word: str, layer_order: LayerOrder | None) -> None:
    if layer_order is None:
        raise ValueError(
            f"exclude={word} is found by running the model, as it is no plain nn.Sequential; "
            "give example_input, a batch of inputs, or the layer's name"
        )
    if word == "last" and not layer_order.last:
        raise ValueError(
            "exclude=last finds no layer: no tensor of the model's outputs is seen to come from "
            "one (an object of its own, numbers, a step outside torch); give the layer's name"
        )
