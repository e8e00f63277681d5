"""Defines the options of a group of ranks. None of them changes the identity of a run."""

from dataclasses import dataclass
from typing import Annotated, Literal

from harness.vocabulary.checks import check_declared


@dataclass(frozen=True)
class Options:
    """Holds the options of a group of ranks.

    Args:
        backend: "auto" is nccl on CUDA and gloo on the CPU.
        gradient_exchange: "dense" reduces all gradients, "sparse" those of unpruned weights only.
        compare_weights_every: Epochs between two comparisons of replicas inside a training.
        timeout_s: A rank that is behind the other ranks for so long ends the run, with its name. A
            rank without a heartbeat does so after 20 s at the latest. Ranks also wait so long, but
            60 s at least, for the last rank to start.

    Raises:
        ValueError: A value is unknown or out of range.
    """

    backend: Literal["auto", "gloo", "nccl"] = "auto"
    gradient_exchange: Literal["dense", "sparse"] = "dense"
    compare_weights_every: Annotated[int, "a whole number >= 1"] = 1
    timeout_s: Annotated[float, "a number of seconds in (0, 31536000]; a year at most"] = 300.0

    def __post_init__(self) -> None:
        check_declared(self)
