"""Names parameters that no rule prunes, and refuses weights that cannot be pruned."""

import logging
import re
from collections.abc import Container, Iterable, Iterator

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from harness.groups.units import RemovableUnits, Units, weights_of
from harness.pruning.graph.graph import Graph, graph_of
from harness.vocabulary.given.errors import first_line
from harness.vocabulary.given.inputs import Inputs, join_samples, samples_of
from harness.vocabulary.tensors import TABLES, preserve_parameters, prunable_layers

LOG = logging.getLogger(__name__)
LEAST = 0.01  # smallest fraction of the model's parameters at which uncovered ones are named
# Embeddings and norms stay dense by rule, as do parameters with one entry for each channel.
BY_RULE = (*TABLES, _NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def check_not_recomputed(units: Units, graph: Graph) -> None:
    """Refuses a weight that the forward pass recomputes from a parameter.

    Rows may be recomputed: what reads a removed one is masked too.

    Raises:
        ValueError: the model computes a weight from the parameter in a way that maps 0 to another
            value.
    """
    single = {name: each for name, each in units.items() if not isinstance(each, RemovableUnits)}
    inside = weights_of(single)
    for name in inside:
        if name in graph.computed:
            layer = name.removesuffix(".weight")
            raise ValueError(
                f"{name}: the forward pass uses a value that {graph.computed[name]} computes from "
                "it (weight standardisation, a low-rank update), which is not 0 where the weight "
                f"is pruned; exclude {layer}, or use the weight itself"
            )


def units_in_use(
    units: Units, known_layers: Iterable[str], model: nn.Module, sample: Inputs, graph: Graph
) -> Units:
    """Returns the units without those of layers that work in training only (an auxiliary head).

    The log names such layers among `known_layers`, whatever the size of the sample, and other
    layers that this pass did not call. If no pass in training mode runs, the two cases cannot
    be distinguished: all layers that this pass did not call are then left whole.
    """
    idle = [name for name in known_layers if name not in graph.order]
    training, failure = _used_in_training(model, sample) if idle else (set[str](), None)
    helpers = [name for name in idle if failure or name in training]
    if helpers:
        why = (
            "a forward pass of a sample does not call them, and a pass in training mode fails: "
            f"{failure}"
            if failure
            else "used in training only, not part of the model that is measured"
        )
        LOG.warning("%s left whole: %s (%s)", _layers(helpers), why, _percentage(model, helpers))
    uncalled = [name for name in idle if name not in helpers]
    for names, outcome in (
        (
            [n for n in uncalled if n in weights_of(units)],
            "pruned although a forward pass of a sample does not call",
        ),
        (
            [n for n in uncalled if n not in weights_of(units)],
            "left whole: a forward pass of a sample does not call",
        ),
    ):
        if names:
            LOG.warning("%s %s them (%s)", _layers(names), outcome, _percentage(model, names))
    return {name: each for name, each in units.items() if not set(helpers) & set(each.weights)}


def warn_uncovered(model: nn.Module, covered: Container[str]) -> None:
    """Logs the families of parameters that no rule covers, with their fractions of the model.

    covered: weights that the structure prunes, or leaves whole by a rule or a reason of its own.
    """
    families = ", ".join(_uncovered(model, covered))
    if families:
        LOG.warning("no rule prunes these parameters, which stay dense: %s", families)


def warn_untied_head(units: Units, model: nn.Module, graph: Graph) -> None:
    """Logs a language head that is pruned because it is not tied to the embedding."""
    tables = {m.weight.shape for m in model.modules() if isinstance(m, nn.Embedding)}
    heads = [
        n
        for n in weights_of(units)
        if n in graph.outputs and model.get_parameter(n).shape in tables
    ]
    if heads:
        LOG.info(
            "%s is pruned too (%s): a head that is not tied to its embedding is a linear layer; "
            "exclude=[last] leaves it whole",
            _layers(heads), _percentage(model, heads),
        )  # fmt: skip


def warn_unseen(units: Units, model: nn.Module) -> None:
    """Logs layers of classes outside torch, if the model was not run."""
    layers = prunable_layers(model)
    own = [n for n in weights_of(units) if not type(layers[n]).__module__.startswith("torch.")]
    if own:
        LOG.warning(
            "%s: how a %s uses its weight was not checked; give example_input, a batch of inputs",
            _layers(own), type(layers[own[0]]).__name__,
        )  # fmt: skip


def _uncovered(model: nn.Module, covered: Container[str]) -> Iterator[str]:
    small: list[str] = []
    for family, names in _families(model, covered).items():
        if not _is_large(model, names):
            small += names
            continue
        label = names[0] if len(names) == 1 else family
        kind = type(model.get_submodule(names[0].rpartition(".")[0])).__name__
        yield f"{label} of {kind} ({_percentage(model, names)})"
    if _is_large(model, small):
        yield f"{len(small)} smaller ones, such as {small[0]} ({_percentage(model, small)})"


def _families(model: nn.Module, covered: Container[str]) -> dict[str, list[str]]:
    """Groups the parameters that no rule covers by their name without its numbers."""
    by_rule = {id(p) for m in model.modules() if isinstance(m, BY_RULE) for p in m.parameters()}
    widths = {size for p in model.parameters() if _is_wide(p) for size in p.shape}
    families: dict[str, list[str]] = {}
    for name, parameter in model.named_parameters():
        # One entry for each channel: a bias or the scale of a norm, in a module of any class.
        by_channel = not _is_wide(parameter) and parameter.numel() in widths | {1}
        if not (name in covered or id(parameter) in by_rule or by_channel):
            families.setdefault(re.sub(r"\d+", "*", name), []).append(name)
    return families


def _is_wide(parameter: Tensor) -> bool:
    return sum(size > 1 for size in parameter.shape) > 1


def _is_large(model: nn.Module, names: list[str]) -> bool:
    least = LEAST * sum(parameter.numel() for parameter in model.parameters())
    return bool(names) and _count(model, names) >= least


def _count(model: nn.Module, names: Iterable[str]) -> int:
    return sum(model.get_parameter(name).numel() for name in names)


def _percentage(model: nn.Module, names: Iterable[str]) -> str:
    whole = sum(parameter.numel() for parameter in model.parameters())
    return f"{100 * _count(model, names) / whole:.3g} % of the model's parameters"


def _layers(names: Iterable[str]) -> str:
    return ", ".join(name.removesuffix(".weight") for name in names)


def _used_in_training(model: nn.Module, sample: Inputs) -> tuple[set[str], str | None]:
    """Returns the weights used by a forward pass in training mode, or why no such pass runs."""
    failure = None
    # Norms over a batch need two samples; some models take one sample only.
    for inputs in [sample] if samples_of(sample) != 1 else [join_samples([sample] * 2), sample]:
        try:
            with preserve_parameters(model):
                graph = graph_of(model, inputs, training=True)
        except Exception as error:  # a user's forward may raise anything
            failure = failure or f"{type(error).__name__}: {first_line(error)}"
        else:
            return set(graph.order), None
    return set(), failure
