"""Adds up what one training costs while its masks change."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from harness.run_folder.records import NOTHING, Trained
from harness.training.context import ONGOING, Fit
from harness.vocabulary.flops import Cost, cost_of, examples_until


@dataclass
class Meter:
    """
    first: the recipe's step that this training begins at; numbers of steps count from there.
    dense: multiply-accumulates of one example, forward; live: those under the masks in force.
    taught: a dense teacher looks at every example too.
    """

    samples: int
    batch_size: int
    first: int
    dense: int
    live: Callable[[], int]
    taught: bool = False
    done: int = 0
    seen: int = 0  # examples since then whose gradients were computed for pruned weights too
    cost: Cost = Cost()

    def until(self, number: int) -> None:
        """Steps before `number` are done, under the masks in force: call it before they change."""
        if number <= self.done:
            return
        examples = self._examples(number) - self._examples(self.done)
        self.cost += cost_of(
            steps=number - self.done,
            examples=examples,
            live=self.live(),
            dense=self.dense,
            seen=self.seen,
            taught=examples if self.taught else 0,
        )
        self.done, self.seen = number, 0

    def looked(self, number: int) -> None:
        """Step `number` computed the gradients of pruned weights too; counted by the next `until`
        beyond it, because counting what lives costs as much as such a look."""
        self.seen += self._examples(number + 1) - self._examples(number)

    def take(self) -> Cost:
        """What was added up since the last call."""
        cost, self.cost = self.cost, Cost()
        return cost

    def state(self) -> dict[str, object]:
        return {"done": self.done, "seen": self.seen, "cost": asdict(self.cost)}

    def load(self, state: dict[str, object]) -> None:
        self.done, self.seen = (int(str(state[key])) for key in ("done", "seen"))
        self.cost = Cost(**state["cost"])  # type: ignore[arg-type]

    def _examples(self, number: int) -> int:
        return examples_until(self.first + number, self.samples, self.batch_size)


def trained(cost: Cost, steps_per_epoch: int, state: str, ended: Fit = ONGOING) -> Trained:
    """A record's view of a stretch of training; state: its optimizer's."""
    if not cost.steps:
        return NOTHING
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
        epoch_top1=ended.curve.top1,
    )
