"""What training costs: steps, examples and FLOPs; plain numbers, no torch."""

from dataclasses import dataclass

FLOPS = 2  # of a multiply-accumulate


def examples_until(step: int, samples: int, batch_size: int) -> int:
    """Examples seen in the first `step` steps; the last batch of an epoch may be partial.

    >>> [examples_until(step, samples=10, batch_size=4) for step in range(5)]
    [0, 4, 8, 10, 14]
    """
    steps_per_epoch = -(-samples // batch_size)
    epochs, rest = divmod(step, steps_per_epoch)
    return epochs * samples + rest * batch_size


@dataclass(frozen=True)
class Cost:
    """Of a stretch of training; costs of stretches add up.

    flops: what the masks in force leave, 2 per multiply-accumulate of the forward pass and 4 of
    the backward pass (gradients of activations and of weights, each as much as the forward).
    flops_dense: of the same steps of the dense network, without a teacher. Norms, activations,
    the optimizer, evaluations and recalibration are not counted, nor what scores look at. Source
    of the rule: Evci et al. 2020 (arXiv:1911.11134), appendix H.
    """

    steps: int = 0
    examples: int = 0
    flops: int = 0
    flops_dense: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(a + b for a, b in zip(self.numbers, other.numbers, strict=True)))

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        return self.steps, self.examples, self.flops, self.flops_dense


def cost_of(
    steps: int, examples: int, live: int, dense: int, seen: int = 0, taught: int = 0
) -> Cost:
    """Cost of steps under the same masks.

    live, dense: multiply-accumulates of one example, forward, of the masked and the dense network.
    seen: of `examples`, those whose gradients were computed for all weights, pruned ones too.
    taught: those that the dense network looked at as a teacher, forward only.

    >>> cost_of(steps=1, examples=1, live=10, dense=100, seen=1)
    Cost(steps=1, examples=1, flops=240, flops_dense=600)
    """
    forward = live * examples
    backward = 2 * live * examples + (dense - live) * seen
    teacher = dense * taught
    return Cost(
        steps, examples, FLOPS * (forward + backward + teacher), 3 * FLOPS * dense * examples
    )
