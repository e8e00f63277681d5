"""How several processes work together; none of it decides what a run is."""

from dataclasses import dataclass

from harness.vocabulary.checks import check_fields, check_known

BACKENDS = ("auto", "gloo", "nccl")
EXCHANGES = ("dense", "sparse")


@dataclass(frozen=True)
class Options:
    """
    backend: "auto" is nccl on CUDA and gloo on the CPU.
    gradient_exchange:: "dense" sends all, "sparse" those of live weights only.
    compare_weights_every: epochs between two comparisons of replicas inside a training.
    timeout_s: a rank that is behind the others for so long ends the run, by name; one that gives
        no sign of life does after 20 s at the latest. Also how long ranks wait for the last to
        come, 60 s at least.

    Raises:
        ValueError: a value is unknown or out of range.
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
