"""Defines the training of all measurements: LeNet-300-100 on mnist5k, batch size 128."""

from collections.abc import Callable
from functools import cache, partial

from torch import nn
from torch.optim import SGD, Adam

from harness.data.base import Splits
from harness.data.mnist5k import Mnist5k
from harness.distributed import Ranks
from harness.learning_rate.constant import Constant
from harness.models.lenet_300_100 import LeNet300100
from harness.task.classification import Classification
from harness.training.context import TrainingContext
from harness.training.state_files import build_seeded
from harness.training.trainer import Trainer
from harness.vocabulary.tensors import Tensors

BATCH, SEED, LEVEL = 128, 0, 0
TOLERANCE = 1e-4
RANKS, TASK = Ranks(), Classification()
# The same as in conf/training/.
OPTIMIZERS: dict[str, Callable[..., SGD | Adam]] = {
    "SGD momentum": partial(SGD, lr=0.1, momentum=0.9, fused=True),
    "Adam": partial(Adam, lr=0.001, fused=True),
}


@cache
def splits() -> Splits:
    return Mnist5k().load()


def build_model() -> nn.Module:
    """Builds the model with the same initial weights at every call."""
    data = splits()
    return build_seeded(lambda: LeNet300100().build(data.shape, data.classes), SEED)


def context(validates: bool = False) -> TrainingContext:
    validation = splits().validation if validates else None
    return TrainingContext(splits().train, TASK, RANKS, SEED, LEVEL, validation=validation)


def recipe(optimizer: str, epochs: int) -> Trainer:
    return Trainer(OPTIMIZERS[optimizer], Constant(), epochs, BATCH)


def checked_difference(ours: Tensors, others: Tensors, side: str) -> float:
    """Returns the largest difference of two models that should be equal.

    Raises:
        RuntimeError: the difference is more than rounding.
    """
    difference = max(float((ours[name] - others[name]).abs().max()) for name in ours)
    if not difference <= TOLERANCE:
        raise RuntimeError(
            f"the weights of the {side} differ from the harness's by {difference:.1e}, more than "
            f"{TOLERANCE:.0e}: the two do different work, so their times cannot be compared"
        )
    return difference
