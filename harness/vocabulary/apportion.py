"""Distributes a whole number in given proportions, with an exact sum."""

import math
from collections.abc import Mapping
from fractions import Fraction

from harness.vocabulary.tensors import Counts


def apportion(total: int, sizes: Counts, room: Counts) -> Counts:
    """total * sizes[name] / sum(sizes), rounded by largest remainder, never above room[name].

    The rest of a full tensor goes to the other tensors in proportion. Of equal remainders the first
    tensor wins. Tensors of size 0 get units only when all others are full, in proportion to their
    room. Integer arithmetic makes the sum exact.

    >>> apportion(5, {"a": 1, "b": 1, "c": 1}, {"a": 9, "b": 1, "c": 9})
    {'a': 2, 'b': 1, 'c': 2}

    Raises:
        ValueError: total is negative or more than all room.
    """
    whole_room = sum(room[name] for name in sizes)
    if not 0 <= total <= whole_room:
        raise ValueError(f"cannot distribute {total} units: there is room for {whole_room}")
    full: Counts = {}
    while True:
        left = total - sum(full.values())
        open_sizes = {name: size for name, size in sizes.items() if name not in full}
        if not any(open_sizes.values()):
            open_sizes = {name: room[name] for name in open_sizes}
        whole = sum(open_sizes.values())
        over = {n: room[n] for n, size in open_sizes.items() if left * size > room[n] * whole}
        if not over:
            break
        full |= over
    rest = _largest_remainder(left, open_sizes, whole)
    return {name: full.get(name, rest.get(name, 0)) for name in sizes}


def reserve(total: int, held: Counts, sizes: Counts, room: Counts) -> Counts:
    """Returns `held` for its tensors and distributes the rest in proportion to the others' sizes.

    If total is less than `held`, that shrinks in proportion and the others get nothing. If total is
    more than the others can take, `held` grows in proportion. held[name] is at most room[name].

    >>> room = {"a": 9, "b": 9, "c": 9}
    >>> [reserve(total, {"a": 4, "b": 2}, room, room) for total in (3, 8, 18)]
    [{'a': 2, 'b': 1, 'c': 0}, {'a': 4, 'b': 2, 'c': 2}, {'a': 6, 'b': 3, 'c': 9}]

    Raises:
        ValueError: total is negative or more than all room.
    """
    others = {name: size for name, size in sizes.items() if name not in held}
    spare = sum(room[name] for name in others)
    first = max(min(total, sum(held.values())), total - spare)
    counts = apportion(first, held, room) | apportion(total - first, others, room)
    return {name: counts[name] for name in sizes}


def whole_numbers(ratios: Mapping[str, Fraction]) -> Counts:
    """Returns whole numbers in these proportions.

    >>> whole_numbers({"a": Fraction(1, 2), "b": Fraction(2, 3)})
    {'a': 3, 'b': 4}
    """
    scale = math.lcm(*(ratio.denominator for ratio in ratios.values()))
    return {name: int(ratio * scale) for name, ratio in ratios.items()}


def _largest_remainder(total: int, sizes: Counts, whole: int) -> Counts:
    if whole == 0:
        return dict.fromkeys(sizes, 0)
    counts = {name: total * size // whole for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: -(total * sizes[name] % whole))
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts
