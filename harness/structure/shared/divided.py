"""Refuses layers that a structure cannot divide into units of one size."""

from typing import NamedTuple


class Division(NamedTuple):
    """Holds one size of a layer, and the key of what must divide it."""

    layer: str
    key: str
    divisor: int
    size: int
    of: str  # what the size counts


def check_divided(*divisions: Division) -> None:
    """Checks that each divisor divides its size.

    Raises:
        ValueError: one does not; names the key, the first layer, and all to exclude.
    """
    odd = [division for division in divisions if division.size % division.divisor]
    if odd:
        first, layers = odd[0], ",".join(dict.fromkeys(division.layer for division in odd))
        raise ValueError(
            f"{first.key}={first.divisor} does not divide the {first.size} {first.of} of "
            f"{first.layer}; choose a divisor, or leave layers whole with exclude=[{layers}]"
        )
