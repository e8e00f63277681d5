"""How several processes work together; none of it decides what a run is."""

from dataclasses import dataclass

BACKENDS = ("auto", "gloo", "nccl")
EXCHANGES = ("dense", "sparse")


@dataclass(frozen=True)
class Options:
    """
    backend: "auto" is nccl on CUDA and gloo on the CPU.
    exchange: of gradients: "dense" sends all, "sparse" those of live weights only.
    compare_weights_every: epochs between two comparisons of replicas inside a training.
    timeout_s: a rank that is behind the others for so long ends the run, by name; one that gives
        no sign of life does after 20 s at the latest. Also how long ranks wait for the last to
        come, 60 s at least.

    Raises:
        ValueError: a value is unknown or out of range.
    """

    backend: str = "auto"
    exchange: str = "dense"
    compare_weights_every: int = 1
    timeout_s: float = 300.0

    def __post_init__(self) -> None:
        for key, allowed in (("backend", BACKENDS), ("exchange", EXCHANGES)):
            value = getattr(self, key)
            if value not in allowed:
                raise ValueError(f"{key} must be one of {', '.join(allowed)}, got {value!r}")
        every = self.compare_weights_every
        if type(every) is not int or every < 1:
            raise ValueError(f"compare_weights_every must be a whole number >= 1, got {every!r}")
        if type(self.timeout_s) not in (int, float) or not 0 < self.timeout_s < float("inf"):
            raise ValueError(
                f"timeout_s must be a number of seconds above 0, got {self.timeout_s!r}"
            )
