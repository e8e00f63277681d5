"""Finds layers of attention whose number of heads may be tied to the width that they read.

With h heads of width d, such a layer reads a stream of h d channels. Code that computes d as
width // heads, or the width as heads x d, runs without a head only if d channels go with it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from harness.groups.group import Group, Member
from harness.vocabulary.tensors import Tensors, all_tensors


class Dimension(NamedTuple):
    """Names one dimension of a parameter."""

    name: str
    dim: int


@dataclass(frozen=True)
class Candidate:
    """Holds a layer of attention that may tie its heads to a width.

    Args:
        owner: path of the module that computes the attention.
        heads: what reads the heads, d indices per head, in the order of the heads.
        count: how many heads.
        rows: the dimensions of layers that make the heads.
        widths: the dimensions of h d indices over which these layers read.
        groups: names of the groups whose units are the heads.
        beside: names of groups of as many units in the same layers: query and key where code puts
            something between them and the values.
    """

    owner: str
    heads: Dimension
    count: int
    rows: tuple[Dimension, ...]
    widths: tuple[Dimension, ...]
    groups: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


def candidates_of(model: nn.Module, groups: Sequence[Group]) -> tuple[Candidate, ...]:
    """Returns the layers of attention with free heads that read as many channels as they give."""
    if not any(group.attention == "head" for group in groups):
        return ()
    return tuple(_candidates(model, groups))


def multihead_attentions(model: nn.Module) -> tuple[Candidate, ...]:
    """Returns the layers of torch's own class, which needs heads x head_dim = width."""
    first = {id(p): name for name, p in model.named_parameters()}
    found = []
    for path, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            own = module.in_proj_weight, module.q_proj_weight, module.k_proj_weight
            made = [first[id(p)] for p in (*own, module.v_proj_weight) if p is not None]
            heads = Dimension(first[id(module.out_proj.weight)], 1)
            rows = tuple(Dimension(name, 0) for name in made)
            width = Dimension(made[0], 1)
            found.append(Candidate(path, heads, module.num_heads, rows, (width,)))
    return tuple(found)


def _candidates(model: nn.Module, groups: Sequence[Group]) -> Iterator[Candidate]:
    tensors = all_tensors(model)
    owned: dict[Dimension, list[tuple[Group, Member]]] = {}
    for group in groups:
        for member in group.members:
            owned.setdefault(Dimension(member.name, member.dim), []).append((group, member))
    for read, parts in owned.items():
        if _are_heads(parts) and _covers(parts, tensors):
            count = sum(group.units for group, _ in parts)
            size = tensors[read.name].shape[read.dim]
            named = {group.name: group for group, _ in parts}
            rows = tuple(_rows(named.values()))
            widths = tuple(_widths(rows, size, tensors))
            owner = _owner(model, read, rows, widths)
            if count > 1 and widths and owner is not None:
                beside = tuple(dict.fromkeys(_beside(named, owned)))
                yield Candidate(owner, read, count, rows, widths, tuple(named), beside)


def _are_heads(parts: Iterable[tuple[Group, Member]]) -> bool:
    return all(
        group.attention == "head" and not group.pinned and member.role == "input"
        for group, member in parts
    )


def _covers(parts: Sequence[tuple[Group, Member]], tensors: Tensors) -> bool:
    """Returns True if all indices of the dimension belong to heads of one width."""
    member = parts[0][1]
    sizes = {each.indices.shape[1] for _, each in parts}
    total = sum(each.indices.numel() for _, each in parts)
    return len(sizes) == 1 and total == tensors[member.name].shape[member.dim]


def _rows(heads: Iterable[Group]) -> Iterator[Dimension]:
    made = [m for group in heads for m in group.members if m.role == "output"]
    yield from dict.fromkeys(Dimension(member.name, member.dim) for member in made)


def _widths(rows: Sequence[Dimension], size: int, tensors: Tensors) -> Iterator[Dimension]:
    """Yields the dimensions of this size that the layers of the heads read."""
    for name, dim in rows:
        for other, length in enumerate(tensors[name].shape):
            if other != dim and length == size:
                yield Dimension(name, other)


def _beside(
    heads: Mapping[str, Group], owned: Mapping[Dimension, list[tuple[Group, Member]]]
) -> Iterator[str]:
    for group in heads.values():
        for member in group.members if len(heads) == 1 else ():
            for other, _ in owned[Dimension(member.name, member.dim)]:
                same = other.attention == "head" and other.units == group.units
                if same and other.name not in heads and not other.pinned:
                    yield other.name


def _owner(
    model: nn.Module, read: Dimension, rows: Iterable[Dimension], widths: Iterable[Dimension]
) -> str | None:
    """Returns the innermost module that reads the heads and holds all that makes them.

    What other modules of its class hold may lie outside: blocks that share some of their layers.
    """
    tensors = dict(model.named_parameters())
    layers, made = (
        [id(tensors[each.name]) for each in dimensions if each.name in tensors]
        for dimensions in (widths, rows)
    )
    path = read.name
    while path:
        path = path.rpartition(".")[0]
        module = model.get_submodule(path)
        inside = {id(p) for p in module.parameters()}
        if not inside.isdisjoint(layers):
            alike = (m for m in model.modules() if type(m) is type(module))
            if {id(p) for m in alike for p in m.parameters()}.issuperset(made):
                return path
    return None
