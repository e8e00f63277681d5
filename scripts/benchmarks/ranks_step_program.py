"""Times steps of the training loop on several ranks, with masks and without."""

from collections.abc import Callable
from functools import partial

from torch import nn

from benchmarks.figure import Seconds, Side, in_turns
from benchmarks.masks import by_harness, global_magnitude
from benchmarks.ranks_jobs import answer
from benchmarks.task import BATCH, LEVEL, OPTIMIZERS, SEED, TASK, build_model, splits
from harness.data.base import Split
from harness.distributed import Ranks
from harness.learning_rate.constant import Constant
from harness.pruning.masks import MaskStore
from harness.training.context import Hooks, TrainingContext
from harness.training.loop import Loop
from harness.training.trainer import Trainer
from harness.vocabulary.step_index import START, StepIndex

NO_END = StepIndex(10**6)  # the caller of the loop decides


def loop_of(
    ranks: Ranks, model: nn.Module, split: Split, recipe: Trainer, store: MaskStore | None = None
) -> Loop:
    """Returns a started training; with masks, it is the retraining of a level."""
    hooks = Hooks()
    if store:
        hooks = Hooks(
            after_backward=store.gradient_masker(model), masks_in_force=lambda: store.masks
        )
    return Loop(recipe, model, TrainingContext(split, TASK, ranks, SEED, LEVEL), hooks, START, None)


def measured(ranks: Ranks, rounds: int, epochs: int) -> dict[str, Seconds]:
    """Returns rank 0's seconds of some epochs in each round, per optimizer and side."""
    store = global_magnitude(build_model())

    def epochs_of(loop: Loop) -> None:
        for _ in range(epochs):
            loop.run_epoch(NO_END)

    def side(make: Callable[[], nn.Module], recipe: Trainer, store: MaskStore | None) -> Side:
        def prepare() -> Loop:
            loop = loop_of(ranks, make(), splits().train, recipe, store)
            ranks.barrier()
            return loop

        return Side(prepare, epochs_of)

    seconds = {}
    for name, optimizer in OPTIMIZERS.items():
        recipe = Trainer(optimizer, Constant(), NO_END.epoch, BATCH)
        sides = {
            "dense": side(build_model, recipe, None),
            "masked": side(partial(by_harness, store), recipe, store),
            "dense again": side(build_model, recipe, None),
        }
        seconds[name] = in_turns(sides, rounds)
    return seconds


if __name__ == "__main__":
    answer(measured)
