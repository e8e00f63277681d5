"""Times steps of the training loop of an MLP, its gradients sent whole and live entries only."""

import time
from dataclasses import replace
from functools import partial

import torch
from torch import nn
from torch.optim import SGD

from benchmarks.figure import Seconds, Side, in_turns
from benchmarks.ranks_jobs import answer
from benchmarks.ranks_step_program import NO_END, loop_of
from benchmarks.task import SEED
from harness.data.base import Split
from harness.distributed import Options, Ranks
from harness.learning_rate.constant import Constant
from harness.models.mlp import Mlp
from harness.pruning.masks import MaskStore
from harness.training.loop import Loop
from harness.training.state_files import build_seeded
from harness.training.trainer import Trainer
from harness.vocabulary.tensors import prunable_weights
from harness.vocabulary.topk import topk_counts, topk_masks

SHAPE, CLASSES, BATCH = (784,), 10, 64
# Density and value of `ranks.gradient_exchange` by side.
SIDES = {
    "sparse": (0.1, "sparse"),
    "dense": (0.1, "dense"),
    "sparse, all live": (1.0, "sparse"),
    "dense, all live": (1.0, "dense"),
}


def measured(
    ranks: Ranks, sides: list[str], rounds: int, steps: int, hidden: list[int], rest_s: float
) -> Seconds:
    """Returns rank 0's seconds per step of each round and side, a mean over `steps` steps."""
    loops = {side: _loop(ranks, *SIDES[side], steps, hidden) for side in sides}
    epochs = {side: Side(partial(_rested, loop, rest_s), _epoch_of) for side, loop in loops.items()}
    seconds = in_turns(epochs, rounds)
    return {side: [time / steps for time in times] for side, times in seconds.items()}


def _rested(loop: Loop, rest_s: float) -> Loop:
    # A pause makes TCP restart its window; otherwise a side inherits the window of the last side.
    time.sleep(rest_s)
    loop.context.ranks.barrier()
    return loop


def _epoch_of(loop: Loop) -> None:
    loop.run_epoch(NO_END)


def _loop(ranks: Ranks, density: float, exchange: str, steps: int, hidden: list[int]) -> Loop:
    model = build_seeded(lambda: Mlp(hidden).build(SHAPE, CLASSES), SEED)
    store = _pruned_to(density, model)
    recipe = Trainer(
        partial(SGD, lr=0.01, momentum=0.9, fused=True), Constant(), NO_END.epoch, BATCH
    )
    side = replace(ranks, options=Options(gradient_exchange=exchange))
    return loop_of(side, model, _made_up(steps * BATCH), recipe, store)


def _pruned_to(density: float, model: nn.Module) -> MaskStore:
    """Returns the masks of a global ranking of magnitudes, applied to the model."""
    weights = prunable_weights(model)
    scores = {name: weight.abs() for name, weight in weights.items()}
    keep = round(density * sum(weight.numel() for weight in weights.values()))
    store = MaskStore(weights)
    store.shrink_to(topk_masks(scores, topk_counts(scores, keep)))
    store.apply_to(model)
    return store


def _made_up(samples: int) -> Split:
    stream = torch.Generator().manual_seed(SEED)
    inputs = torch.randn(samples, *SHAPE, generator=stream)
    return Split(inputs, torch.randint(CLASSES, (samples,), generator=stream))


if __name__ == "__main__":
    answer(measured)
