from dataclasses import dataclass

from harness.learning_rate.base import LearningRate


@dataclass(frozen=True)
class Held:
    """Keeps the factor of the last step of `inner` over `epochs` epochs, at every step.

    Source: fine-tuning in Renda et al. 2020 (arXiv:2003.02389).

    Raises:
        ValueError: epochs < 1.
    """

    inner: LearningRate
    epochs: int

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(
                f"epochs must be at least 1, got {self.epochs}: a recipe without a step has no "
                "last learning rate; raise its epochs"
            )

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        last = self.epochs * steps_per_epoch - 1
        return self.inner.factor(last, steps_per_epoch, self.epochs)
