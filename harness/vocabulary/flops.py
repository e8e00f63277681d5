"""Counts what training costs in steps, examples and FLOPs. Plain numbers, no torch."""

from dataclasses import dataclass

FLOPS = 2  # of a multiply-accumulate


def examples_until(step: int, samples: int, batch_size: int) -> int:
    """Returns the number of examples in the first `step` steps. The last batch may be partial.

    >>> [examples_until(step, samples=10, batch_size=4) for step in range(5)]
    [0, 4, 8, 10, 14]
    """
    steps_per_epoch = -(-samples // batch_size)
    epochs, rest = divmod(step, steps_per_epoch)
    return epochs * samples + rest * batch_size


@dataclass(frozen=True)
class TrainingCost:
    """Holds the cost of a part of a training. Costs can be added.

    flops counts the weights that the masks in force keep: 2 per multiply-accumulate of the forward
    pass and 4 of the backward pass (gradients of activations and of weights, each as much as the
    forward). flops_dense counts the same steps of the dense model, without a teacher. Norms,
    activations, the optimizer, evaluations, recalibration and the passes of scores are not counted.

    Source of the rule: Evci et al. 2020 (arXiv:1911.11134), appendix H.
    """

    steps: int = 0
    examples: int = 0
    flops: int = 0
    flops_dense: int = 0

    def __add__(self, other: "TrainingCost") -> "TrainingCost":
        return TrainingCost(*(a + b for a, b in zip(self.numbers, other.numbers, strict=True)))

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        return self.steps, self.examples, self.flops, self.flops_dense


def training_cost(
    steps: int,
    examples: int,
    live_macs: int,
    dense_macs: int,
    dense_gradient_examples: int = 0,
    teacher_examples: int = 0,
) -> TrainingCost:
    """Returns the cost of steps under the same masks.

    Args:
        steps: Number of optimizer steps.
        examples: Number of examples in these steps.
        live_macs: Multiply-accumulates of one example, forward, of the masked model.
        dense_macs: The same of the dense model.
        dense_gradient_examples: Number of examples whose gradients were computed for pruned
            weights too.
        teacher_examples: Number of examples that a dense teacher processed, forward only.

    >>> training_cost(steps=1, examples=1, live_macs=10, dense_macs=100, dense_gradient_examples=1)
    TrainingCost(steps=1, examples=1, flops=240, flops_dense=600)
    """
    forward = live_macs * examples
    backward = 2 * live_macs * examples + (dense_macs - live_macs) * dense_gradient_examples
    teacher = dense_macs * teacher_examples
    return TrainingCost(
        steps, examples, FLOPS * (forward + backward + teacher), 3 * FLOPS * dense_macs * examples
    )
