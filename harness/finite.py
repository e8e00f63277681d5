"""Scores must be finite; where they are not, the culprit is named."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


def checked(saliency: object, name: str, scores: Tensor) -> Tensor:
    """
    Raises:
        ValueError: a score is not finite.
    """
    # The extremes of scores among which one is not finite are not finite, and cheaper.
    if scores.numel() and not all(extreme.isfinite() for extreme in scores.aminmax()):
        raise ValueError(
            f"{type(saliency).__name__} gave {name} scores that are not finite; "
            "look for a loss or gradient that overflows"
        )
    return scores


@contextmanager
def naming_broken(model: nn.Module) -> Iterator[None]:
    """An error inside, of a model with a value that is not finite, names the parameter instead:
    the scores of all other weights suffer from it too."""
    try:
        yield
    except ValueError as error:
        for name, parameter in model.named_parameters():
            if not parameter.isfinite().all():
                raise ValueError(
                    f"{name} holds values that are not finite, so no score is ({error}); did the "
                    "training diverge? lower its learning rate"
                ) from error
        raise
