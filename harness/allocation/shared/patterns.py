"""Finds the layers that a name or a pattern means."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from harness.allocation.base import Layers


def first_match(patterns: Iterable[str], name: str) -> str | None:
    """Returns the first of the patterns that fits the weight `name`, or its layer, or None.

    A pattern is a name ("fc1" or "fc1.weight") or has the wildcards of a shell ("conv*").
    """
    names = (name, name.removesuffix(".weight"))
    fits = (p for p in patterns if p in names or any(fnmatchcase(n, p) for n in names))
    return next(fits, None)


def check_patterns(key: str, patterns: Iterable[str], layers: Layers) -> None:
    """Checks that every pattern of this key fits a layer.

    Raises:
        ValueError: a pattern of this key fits none of the layers.
    """
    for pattern in patterns:
        if not any(first_match([pattern], name) for name in layers):
            raise ValueError(
                f"{key} names {pattern!r}, which fits no layer that is pruned; there are: "
                f"{', '.join(layers)}"
            )
