"""Whole numbers in given proportions, with an exact sum."""

from harness.tensors import Counts


def apportion(total: int, sizes: Counts, room: Counts) -> Counts:
    """`total` shared in proportion to sizes, by largest remainder, never beyond room[name].

    What a full tensor cannot take goes to the others in proportion. Of equal remainders the
    first tensor wins. In integers, so the sum is exact.

    >>> apportion(5, {"a": 1, "b": 1, "c": 1}, {"a": 9, "b": 1, "c": 9})
    {'a': 2, 'b': 1, 'c': 2}

    Raises:
        ValueError: total is negative or more than all room.
    """
    if not 0 <= total <= sum(room.values()):
        raise ValueError(f"cannot share {total} units: there is room for {sum(room.values())}")
    full: Counts = {}
    while True:
        left = total - sum(full.values())
        open_sizes = {name: size for name, size in sizes.items() if name not in full}
        whole = sum(open_sizes.values())
        over = {n: room[n] for n, size in open_sizes.items() if left * size > room[n] * whole}
        if not over:
            break
        full |= over
    shares = _largest_remainder(left, open_sizes, whole)
    return {name: full.get(name, shares.get(name, 0)) for name in sizes}


def _largest_remainder(total: int, sizes: Counts, whole: int) -> Counts:
    if whole == 0:
        return dict.fromkeys(sizes, 0)
    shares = {name: total * size // whole for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: -(total * sizes[name] % whole))
    for name in by_remainder[: total - sum(shares.values())]:
        shares[name] += 1
    return shares
