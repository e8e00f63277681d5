"""Adapts torch.utils.checkpoint to passes that call torch.autograd.grad."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import CheckpointFunction, checkpoint


@contextmanager
def differentiable_checkpoints() -> Iterator[None]:
    """Makes torch's reentrant checkpoints work like those with use_reentrant=False.

    The outputs are the same bit by bit. A reentrant checkpoint refuses torch.autograd.grad, cannot
    be differentiated twice, and gives its weights no gradient unless one of its inputs requires
    one. Data never does, so these weights would silently score 0.
    """
    with _having(CheckpointFunction, "apply", staticmethod(_recomputed)):
        yield


@contextmanager
def no_checkpoints() -> Iterator[None]:
    """Makes checkpoints of both kinds call their function and keep its activations.

    Needed for a forward pass that depends on a context (other parameters, a mode), because a
    checkpoint would repeat it outside.
    """
    with (
        _having(CheckpointFunction, "apply", staticmethod(_called)),
        _having(saved_tensors_hooks, "__enter__", lambda hooks: None),
        _having(saved_tensors_hooks, "__exit__", lambda hooks, *error: None),
    ):
        yield


def _recomputed(function: Any, preserve_rng_state: bool, *inputs: Any) -> Any:
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=preserve_rng_state)


def _called(function: Any, preserve_rng_state: bool, *inputs: Any) -> Any:
    return function(*inputs)


@contextmanager
def _having(owner: type, name: str, value: Any) -> Iterator[None]:
    own = vars(owner).get(name)  # None: inherited
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)
