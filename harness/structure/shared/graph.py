"""Finds first and last layers, the companions of units, and what a pass does not show."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from harness.structure.shared.trace import INPUT, Affine, Trace, WeightProduct, trace_of


@dataclass(frozen=True)
class Graph:
    """Holds how the layers of a model are connected.

    order: weights in the order in which a forward pass multiplies by them first. A weight that
    several layers share appears once. They are parameters of two dimensions or more, of layers of
    any kind.
    first: weights that read nothing but the model's input.
    outputs: weights of the last layers, whose units are model outputs, or are added into them.
    companions: parameters that are removed with a weight's units. They are each bias and each
    norm's scale and shift that have one entry per unit and that this weight alone feeds. What is
    added to the units or concatenated with them (a table of positions, a class token, a buffer, a
    number) feeds a norm too.
    pinned: weights whose units cannot be removed, with the reason.
    computed: weights that are used in a form in which a pruned one is alive, with the operator that
    made that form.
    nonzero_after_removal: weights whose removed units still give what a norm without parameters
    makes of a 0, or a shift that is a buffer. No scale and shift could be removed with them.
    """

    order: tuple[str, ...]
    first: frozenset[str]
    outputs: frozenset[str]
    companions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pinned: Mapping[str, str] = field(default_factory=dict)
    computed: Mapping[str, str] = field(default_factory=dict)
    nonzero_after_removal: frozenset[str] = frozenset()


def graph_of(model: nn.Module, sample: Tensor) -> Graph:
    """Reads the graph from one forward pass; the model comes back as it was.

    `sample`: inputs (samples, ...). Works on any model that runs forward, control flow included;
    what another pass would call and this one does not is not in it.
    """
    trace = trace_of(model, sample)
    uses = _by_weight(trace.uses)
    units = {name: model.get_parameter(name).shape[0] for name in uses}
    one_each = _one_entry_per_unit(model, trace, units)
    companions = {
        name: _distinct(
            [*(n for use in products for n in use.companions if _is_vector(model, n, units[name]))]
            + one_each.get(name, [])
        )
        for name, products in uses.items()
    }
    return Graph(
        order=tuple(uses),
        first=frozenset(
            n for n, products in uses.items() if all(use.feeders == {INPUT} for use in products)
        ),
        outputs=trace.outputs - {INPUT},
        companions=companions,
        pinned=_behind_shared_norms(trace, companions)
        | _behind_norms(trace, units)
        | _used_otherwise(trace, uses)
        | _lost(trace, uses),
        computed=trace.computed,
        nonzero_after_removal=frozenset(_nonzero_after_removal(trace, companions)),
    )


def _by_weight(uses: Iterable[WeightProduct]) -> dict[str, list[WeightProduct]]:
    products: dict[str, list[WeightProduct]] = {}
    for use in uses:
        products.setdefault(use.weight, []).append(use)
    return products


def _is_vector(model: nn.Module, name: str, units: int) -> bool:
    return model.get_parameter(name).shape == (units,)


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    # Once each: a bias that is added by an operation of its own looks like a norm's shift.
    return tuple(dict.fromkeys(names))


def _one_entry_per_unit(
    model: nn.Module, trace: Trace, units: Mapping[str, int]
) -> dict[str, list[str]]:
    """Returns scales and shifts by the weight whose units they follow, the last ones first."""
    # A norm that is called twice has all its feeders.
    calls: dict[tuple[str, ...], list[Affine]] = {}
    for affine in reversed(trace.affine):
        calls.setdefault(affine.parameters, []).append(affine)
    vectors: dict[str, list[str]] = {}
    for parameters, affines in calls.items():
        feeder = _only_feeder(affines)
        if feeder is None or not all(affine.fits(units[feeder]) for affine in affines):
            continue
        if all(_is_vector(model, name, units[feeder]) for name in parameters):
            vectors.setdefault(feeder, []).extend(parameters)
    return vectors


def _only_feeder(affines: Sequence[Affine]) -> str | None:
    if any(affine.mixed for affine in affines):
        return None
    feeders = frozenset().union(*(affine.feeders for affine in affines))
    return next(iter(feeders)) if len(feeders) == 1 and INPUT not in feeders else None


def _behind_norms(trace: Trace, units: Mapping[str, int]) -> dict[str, str]:
    """Returns weights whose units reach a shift in another order or number, with the reason.

    A removed unit would still give that shift, or a shift would be zeroed that is alive.
    """
    return {
        feeder: f"units reach {affine.parameters[-1]} in another order or "
        "number (a concatenation, a shuffle, a reshaping), so a removed unit would still give it"
        for affine in trace.affine
        for feeder in affine.feeders - {INPUT}
        if affine.shifts and affine.parameters and not affine.fits(units[feeder])
    }


def _behind_shared_norms(trace: Trace, companions: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Returns weights that reach a shift which other layers reach too, with the reason.

    The shift is no companion, so a removed unit would still give it.
    """
    return {
        feeder: f"units reach {affine.parameters[-1]}, which is called on other layers too, so a "
        "removed unit would still give it"
        for affine in trace.affine
        if (feeder := _only_feeder([affine])) and affine.shifts and affine.parameters
        if not set(affine.parameters) <= set(companions[feeder])
    }


def _nonzero_after_removal(
    trace: Trace, companions: Mapping[str, tuple[str, ...]]
) -> Iterator[str]:
    """Yields weights that alone feed a norm without parameters and no companion scale behind it."""
    for index, affine in enumerate(trace.affine):
        feeder = _only_feeder([affine])
        if feeder is None or affine.parameters or not affine.shifts:
            continue
        behind = [later for later in trace.affine[index + 1 :] if later.feeders == affine.feeders]
        if not any(
            later.parameters and {*later.parameters} <= {*companions[feeder]} for later in behind
        ):
            yield feeder


def _used_otherwise(trace: Trace, uses: Mapping[str, list[WeightProduct]]) -> dict[str, str]:
    """Returns weights of which not every use makes the same units, with the reason."""
    return {
        name: "the weight is used elsewhere too, where its rows are not output units (a tied "
        "embedding, a transposed use)"
        for name, products in uses.items()
        if name in trace.other_uses
        or (len(products) > 1 and not all(use.rows_are_units for use in products))
    }


def _lost(trace: Trace, uses: Mapping[str, list[WeightProduct]]) -> dict[str, str]:
    """Returns weights from which no path leads to the outputs, with the reason.

    The pass left torch on the path, or the path ended.
    """
    seen, todo = set[str](), set(trace.outputs - {INPUT})
    while todo:
        seen |= todo
        todo = {n for name in todo for use in uses[name] for n in use.feeders} - seen - {INPUT}
    return {
        name: "no path is found from it to the model's outputs (they are computed outside "
        "torch, or do not need it)"
        for name in uses
        if name not in seen
    }
