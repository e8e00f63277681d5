"""Adapts attributes of modules that restate a size, such as num_heads or hidden_dim.

A module's attribute is compared with the sizes that changed in its own tensors and in those of the
modules inside it. If one new size fits, and its name does not say otherwise, the attribute becomes
it. If several fit, the attribute stays, and is searched where the smaller network fails.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from harness.groups.group import Group, KeptIndices, Member
from harness.groups.layers.sizes import LAYERS

Attributes = dict[str, tuple[Any, Any]]  # "module.attribute" -> (dense value, new value)
BASE = frozenset(vars(nn.Module()))
# By these names an attribute counts units, states a width all the same, or states neither.
COUNTS = re.compile(r"head|group", re.IGNORECASE)
WIDTHS = re.compile(r"dim|size|width|channel", re.IGNORECASE)
NEITHER = re.compile(
    r"layer|depth|block|stage|kernel|stride|padd|dilat|patch|window|image|img|class|len|ratio|steps",
    re.IGNORECASE,
)
SMALLEST_WIDTH = 8  # smaller numbers are too often the same by chance, as 3 colours and 3 heads
UNITS = "units of "


class Change(NamedTuple):
    """One size that is another one in the smaller network; role: what it is the size of."""

    old: int
    new: int
    role: str


class Option(NamedTuple):
    """A value that an attribute may have; role: of which sizes, "" for its value as it was."""

    role: str
    value: Any


def changes_below(
    model: nn.Module, cut: KeptIndices, groups: Sequence[Group], kept: Mapping[str, Tensor]
) -> dict[str, list[Change]]:
    """Returns for each module the sizes that changed in it; roles are relative to the module.

    Sizes are those of dimensions, of the part of a dimension that one group owns, and numbers of
    units: of one group, and of all groups that have a part of a dimension.

    groups: those of the model. kept: group name -> (units,) bool; other groups stay whole.
    """
    found: dict[str, dict[Change, None]] = {}
    first = {id(t): name for name, t in _tensors(model)}
    names: dict[str, list[str]] = {}
    for name, tensor in _tensors(model):
        names.setdefault(first[id(tensor)], []).append(name)
    every = {other: known for known in names.values() for other in known}
    sizes = {name: tensor.shape for name, tensor in _tensors(model)}
    for name, kept_of in cut.items():
        for dim, indices in enumerate(kept_of):
            if indices is not None:
                _note(found, every[name], f"[{dim}]", sizes[name][dim], len(indices))
    for group in groups:
        left = kept.get(group.name, torch.ones(group.units, dtype=torch.bool))
        for member in group.members:
            known = every.get(member.name, ())
            _note(found, known, f"[{member.dim}]", group.units, int(left.sum()), UNITS)
            _note(found, known, f"[{member.dim}]", *_part(member, left), "part of ")
    for (name, dim), (units, left_units) in _unit_counts(groups, kept).items():
        _note(found, every.get(name, ()), f"[{dim}]", units, left_units, UNITS)
    return {path: list(changes) for path, changes in found.items()}


def options(old: Any, attribute: str, changes: Iterable[Change]) -> list[Option]:
    """Returns the values that an attribute may have in the smaller network, its own first.

    >>> changes = [Change(8, 4, "fc.weight[0]"), Change(8, 6, "units of qkv.weight[0]")]
    >>> [option.value for option in options(8, "num_heads", changes)]
    [8, 6, 4]
    >>> [option.value for option in options((8, 3), "shape", changes)]
    [(8, 3), (4, 3), (6, 3)]
    """
    if not isinstance(old, int):
        parts = [options(each, attribute, changes) for each in old]
        return [Option(", ".join(_roles(c)).strip(", "), _as(old, c)) for c in _combined(parts)]
    fitting = [change for change in changes if change.old == old and old > 1]
    fitting.sort(key=lambda change: change.role.startswith(UNITS) != _counts_units(attribute))
    values: dict[int, str] = {}
    for change in fitting:
        values.setdefault(change.new, change.role)
    return [Option("", old), *(Option(role, new) for new, role in values.items())]


def guess(model: nn.Module, changes: Mapping[str, Sequence[Change]]) -> Attributes:
    """Returns attributes for which one new size fits, of modules that hold changed tensors."""
    found: Attributes = {}
    for path, module in model.named_modules():
        for name, old in size_attributes(module) if path in changes else ():
            new = _likely(old, name, changes[path])
            if new != old:
                found[f"{path}.{name}".removeprefix(".")] = (old, new)
    return found


def adapt(model: nn.Module, attributes: Attributes) -> None:
    """Sets attributes to their new values, as they were recorded.

    Raises:
        ValueError: the model has no such module.
    """
    for name, (_, new) in attributes.items():
        path, _, attribute = name.rpartition(".")
        try:
            module = model.get_submodule(path)
        except AttributeError:
            raise ValueError(f"{name}: {type(model).__name__} has no module {path}") from None
        old = getattr(module, attribute, None)
        setattr(module, attribute, tuple(new) if isinstance(old, tuple) else new)


def size_attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yields attributes that may restate a size: whole numbers, and lists or tuples of them.

    Those of torch's layers with tensors are left out, which state the sizes of these alone.
    """
    if isinstance(module, LAYERS) and any(True for _ in _tensors(module)):
        return
    for name, value in list(vars(module).items()):
        if name not in BASE and (_is_whole(value) or _is_shape(value)):
            yield name, value


def _likely(old: Any, attribute: str, changes: Sequence[Change]) -> Any:
    if not isinstance(old, int):
        return _as(old, [Option("", _likely(each, attribute, changes)) for each in old])
    counts = _counts_units(attribute)
    if NEITHER.search(attribute) or not counts and old < SMALLEST_WIDTH:
        return old
    fitting = [c for c in changes if c.role.startswith(UNITS) == counts]
    found = options(old, attribute, fitting)[1:]
    return found[0].value if len(found) == 1 else old


def _counts_units(attribute: str) -> bool:
    return bool(COUNTS.search(attribute)) and not WIDTHS.search(attribute)


def _combined(parts: list[list[Option]]) -> list[tuple[Option, ...]]:
    return [chosen for chosen, _ in zip(product(*parts), range(200), strict=False)]


def _roles(chosen: Iterable[Option]) -> list[str]:
    return [option.role for option in chosen]


def _as(old: Any, chosen: Iterable[Option]) -> Any:
    values = [option.value for option in chosen]
    return values if isinstance(old, list) else tuple(values)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_shape(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(map(_is_whole, value))


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _unit_counts(
    groups: Sequence[Group], kept: Mapping[str, Tensor]
) -> dict[tuple[str, int], tuple[int, int]]:
    """Returns how many units of all these groups have a part of a dimension, before and after."""
    counts: dict[tuple[str, int], tuple[int, int]] = {}
    for group in groups:
        for member in group.members:
            units, left = counts.get((member.name, member.dim), (0, 0))
            own = int(kept[group.name].sum()) if group.name in kept else group.units
            counts[member.name, member.dim] = units + group.units, left + own
    return counts


def _part(member: Member, left: Tensor) -> tuple[int, int]:
    return member.indices.numel(), member.indices[left.to(torch.bool).cpu()].numel()


def _note(
    found: dict[str, dict[Change, None]],
    names: Iterable[str],
    dim: str,
    old: int,
    new: int,
    prefix: str = "",
) -> None:
    """Notes a change for the module of each of these tensors and all that contain it."""
    for name in names if old != new else ():
        path = name.rpartition(".")[0]
        while True:
            relative = name[len(path) + 1 :] if path else name
            found.setdefault(path, {})[Change(old, new, f"{prefix}{relative}{dim}")] = None
            if not path:
                break
            path = path.rpartition(".")[0]
