"""Defines the options of a group of ranks. None of them changes the identity of a run."""

from dataclasses import dataclass

from harness.vocabulary.checks import check_fields, check_known

BACKENDS = ("auto", "gloo", "nccl")
EXCHANGES = ("dense", "sparse")


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

    backend: str = "auto"
    gradient_exchange: str = "dense"
    compare_weights_every: int = 1
    timeout_s: float = 300.0

    def __post_init__(self) -> None:
        check_known("backend", self.backend, BACKENDS)
        check_known("gradient_exchange", self.gradient_exchange, EXCHANGES)
        check_fields(self, "a whole number >= 1", "compare_weights_every")
        check_fields(self, "a number of seconds above 0", "timeout_s")
