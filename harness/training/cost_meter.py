"""Adds up the cost of one training while its masks change."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from harness.run_folder.records import NO_TRAINING, Trained
from harness.training.context import UNFINISHED, FitResult
from harness.vocabulary.flops import TrainingCost, examples_until, training_cost


@dataclass
class CostMeter:
    """Adds up the cost of one training.

    Args:
        samples: Number of training samples.
        batch_size: Global batch size.
        first: Step of the recipe at which this training begins. Steps are counted from there.
        dense_macs: Multiply-accumulates of one example, forward.
        live_macs: Returns the same under the masks in force.
        has_teacher: True if a dense teacher processes every example too.
        done: Number of steps that are counted.
        dense_gradient_examples: Number of examples since then whose gradients were computed for
            pruned weights too.
        cost: Cost that is not popped yet.
    """

    samples: int
    batch_size: int
    first: int
    dense_macs: int
    live_macs: Callable[[], int]
    has_teacher: bool = False
    done: int = 0
    dense_gradient_examples: int = 0
    cost: TrainingCost = TrainingCost()

    def count_until(self, number: int) -> None:
        """Counts the steps before `number` under the masks in force. Call it before they change."""
        if number <= self.done:
            return
        examples = self._examples(number) - self._examples(self.done)
        self.cost += training_cost(
            steps=number - self.done,
            examples=examples,
            live_macs=self.live_macs(),
            dense_macs=self.dense_macs,
            dense_gradient_examples=self.dense_gradient_examples,
            teacher_examples=examples if self.has_teacher else 0,
        )
        self.done, self.dense_gradient_examples = number, 0

    def count_dense_gradients(self, number: int) -> None:
        """Notes that step `number` computed the gradients of pruned weights too.

        The next `count_until` beyond that step adds their cost, because `live_macs` is expensive.
        """
        self.dense_gradient_examples += self._examples(number + 1) - self._examples(number)

    def pop(self) -> TrainingCost:
        """Returns the cost since the last call."""
        cost, self.cost = self.cost, TrainingCost()
        return cost

    def state_dict(self) -> dict[str, object]:
        return {"done": self.done, "seen": self.dense_gradient_examples, "cost": asdict(self.cost)}

    def load_state_dict(self, state: dict[str, object]) -> None:
        self.done = int(str(state["done"]))
        self.dense_gradient_examples = int(str(state["seen"]))
        self.cost = TrainingCost(**state["cost"])  # type: ignore[arg-type]

    def _examples(self, number: int) -> int:
        return examples_until(self.first + number, self.samples, self.batch_size)


def trained_fields(
    cost: TrainingCost, steps_per_epoch: int, state: str, ended: FitResult = UNFINISHED
) -> Trained:
    """Returns the fields of a record that describe a part of a training.

    Args:
        cost: Cost of that part.
        steps_per_epoch: Optimizer steps of an epoch.
        state: Start of the optimizer, as in `Trained.optimizer_state`.
        ended: Result of the training if this part ends it.
    """
    if not cost.steps:
        return NO_TRAINING
    epochs = cost.steps / steps_per_epoch
    return Trained(
        epochs=int(epochs) if epochs.is_integer() else epochs,
        steps=cost.steps,
        examples=cost.examples,
        training_flops=cost.flops,
        training_flops_dense=cost.flops_dense,
        optimizer_state=state,
        gradient_norm=ended.norm,
        epoch_losses=ended.curve.losses,
        epoch_validation=ended.curve.validation,
        validations=ended.curve.validations,
        early_stop=ended.curve.early_stop,
    )
