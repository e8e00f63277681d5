"""torch.utils.checkpoint in passes whose gradients torch.autograd.grad is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.checkpoint import CheckpointFunction, checkpoint


@contextmanager
def differentiable_checkpoints() -> Iterator[None]:
    """Inside, torch's reentrant checkpoints work as those with use_reentrant=False do.

    The outputs are the same bit by bit. A reentrant one refuses torch.autograd.grad, cannot be
    differentiated twice, and gives its weights no gradient unless one of its inputs asks for one,
    which data never does: they would score 0 without a word.
    """
    own = vars(CheckpointFunction).get("apply")  # of an outer one; torch's is inherited
    CheckpointFunction.apply = staticmethod(_recomputed)
    try:
        yield
    finally:
        del CheckpointFunction.apply
        if own is not None:
            CheckpointFunction.apply = own


def _recomputed(function: Any, preserve_rng_state: bool, *inputs: Any) -> Any:
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=preserve_rng_state)
