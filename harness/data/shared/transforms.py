"""Builds the transforms of training samples from names of torchvision.transforms.v2."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from harness.extras import check_extra

# [RandomHorizontalFlip, {RandomResizedCrop: {size: 224, scale: [0.2, 1.0]}}]; null for none.
Transforms = Sequence[str | Mapping[str, Any]] | None


def train_transforms(listed: Transforms) -> Callable[[Any], Any] | None:
    """Returns the transforms in their order as one function; None for none.

    Raises:
        ValueError: torchvision has no such transform, or it does not take the arguments.
    """
    if not listed:
        return None
    check_extra("data", "data.transforms", "torchvision")
    from torchvision.transforms import v2

    made: Callable[[Any], Any] = v2.Compose([_made(entry) for entry in listed])
    return made


def _made(entry: str | Mapping[str, Any]) -> Any:
    from torchvision.transforms import v2

    if not isinstance(entry, str) and len(entry) != 1:
        raise ValueError(f"data.transforms: write NAME or {{NAME: ARGUMENTS}}, got {entry}")
    name, arguments = (entry, None) if isinstance(entry, str) else next(iter(entry.items()))
    known = [each for each in dir(v2) if isinstance(getattr(v2, each), type)]
    if name not in known:
        near = ", ".join(get_close_matches(name, known, n=3))
        meant = f"did you mean {near}? " if near else ""
        raise ValueError(
            f"data.transforms: {name} is no transform; {meant}torchvision.transforms.v2 has them"
        )
    try:
        return getattr(v2, name)(**(arguments or {}))
    except (TypeError, ValueError) as error:
        raise ValueError(f"data.transforms: {name} does not take {arguments}: {error}") from error
