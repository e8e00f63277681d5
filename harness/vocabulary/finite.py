"""Checks that scores are finite, and names the cause if not. Warns of scores that are all 0."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from harness.vocabulary.tensors import Tensors

LOG = logging.getLogger(__name__)


def is_finite(values: Tensor) -> bool:
    """Returns True if all values are finite. The extremes show it at lower cost than isfinite()."""
    return not values.numel() or all(bool(extreme.isfinite()) for extreme in values.aminmax())


def check_scores(saliency: object, scores: Mapping[str, Tensor], names: Sequence[str]) -> Tensors:
    """Returns the scores of these weights.

    Raises:
        ValueError: A weight has no scores, or a score is not finite.
    """
    part = type(saliency).__name__
    missing = [name for name in names if name not in scores]
    if missing:
        raise ValueError(
            f"score of {part} returned nothing for {', '.join(missing)}; it must return the scores "
            "of every weight that it is given, by name, on every rank"
        )
    for name in names:
        if not is_finite(scores[name]):
            raise ValueError(
                f"{part} gave {name} scores that are not finite; "
                "look for a loss or gradient that overflows"
            )
    return {name: scores[name] for name in names}


def warn_zero_scores(saliency: object, scores: Tensors, weights: Tensors) -> None:
    """Warns of non-zero weights whose scores are all 0, because they are pruned first."""
    zero = [
        name
        for name, score in scores.items()
        if not score.any() and name in weights and weights[name].any()
    ]
    if zero:
        LOG.warning(
            "%s scores all of %s 0, so that they go first: it saw nothing depend on them (no pass "
            "calls them, or it does under no_grad, detach or a checkpoint of another library); "
            "exclude leaves them whole",
            type(saliency).__name__,
            ", ".join(zero),
        )


@contextmanager
def name_non_finite_weights(model: nn.Module) -> Iterator[None]:
    """Names the non-finite parameter of the model in an error inside the context.

    All scores suffer from such a parameter.
    """
    try:
        yield
    except ValueError as error:
        for name, parameter in model.named_parameters():
            if not parameter.isfinite().all():
                raise ValueError(
                    f"{name} holds values that are not finite, so no score is ({error}); did a "
                    "training diverge (lower its learning rate), or were they loaded?"
                ) from error
        raise
