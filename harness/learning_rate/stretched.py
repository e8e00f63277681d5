from dataclasses import dataclass

from harness.learning_rate.base import LearningRate


@dataclass(frozen=True)
class Stretched:
    """Stretches the factors of `inner` over `epochs` epochs to the requested length.

    Milestones and warm-ups given in epochs stretch too. Over a longer recipe each factor lasts
    for several steps, the last one up to the end; over a shorter one some are left out.

    Source: Liu et al. 2019, Scratch-B (arXiv:1810.05270), who move the epochs at which the rate
    falls.
    """

    inner: LearningRate
    epochs: int

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        return self.inner.factor(step * self.epochs // epochs, steps_per_epoch, self.epochs)
