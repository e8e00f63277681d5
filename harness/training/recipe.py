"""Defines a training recipe."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from harness.augmentation.base import Augmentation
from harness.augmentation.shared.on_pixels import with_scale
from harness.augmentation.shared.pixel_scale import pixel_scale_of
from harness.data.base import Split
from harness.distributed import Ranks
from harness.learning_rate.base import LearningRate
from harness.mixing.base import Mixing
from harness.training.batches.batching import steps_per_epoch
from harness.training.updates.given_optimizer import MakeOptimizer, check_groups, check_optimizer
from harness.training.updates.parameter_groups import parameter_groups
from harness.vocabulary.checks import check_declared
from harness.vocabulary.given.inputs import Inputs, map_inputs

AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def _channels_last(inputs: Tensor) -> Tensor:
    images = inputs.dim() == 4
    return inputs.contiguous(memory_format=torch.channels_last) if images else inputs


@dataclass(frozen=True)
class Recipe:
    """Holds a training recipe.

    Args:
        optimizer: Maps parameters to a torch optimizer. Its lr is multiplied by learning_rate's
            factor.
        learning_rate: Schedule of the learning rate.
        epochs: Number of epochs.
        batch_size: GLOBAL batch size, over all ranks.
        accumulate: Number of micro-batches per step and rank.
        autocast: null, bfloat16 or float16 (with a GradScaler).
        clip_norm: Maximum norm of the unpruned gradients.
        augmentation: Augmentation of training inputs, drawn by seed, level, epoch and sample.
        mixing: Mixes the samples of each global batch, drawn by seed, level, epoch and step.
        no_decay: "norms_and_biases": no weight decay on parameters with at most one dimension.
        parameter_groups: Options of the optimizer by name or pattern of parameters or modules.
        ema_decay: The training ends with the moving averages of its weights, a = ema_decay a +
            (1 - ema_decay) w at every step. They are validated too. None ends with the weights.
        compile: Backend of torch.compile for the forward and backward passes of training.
        validate_every: Steps between two validations, beside those at the ends of epochs. They give
            the curve of which early stopping is read. None has none.
        memory_format: "channels_last" computes convolutions of images in that format.

    Raises:
        ValueError: A value is out of its range, or the optimizer refuses its arguments.
    """

    optimizer: MakeOptimizer
    learning_rate: LearningRate
    epochs: Annotated[int, "a whole number in [0, 1000000]"]
    batch_size: Annotated[int, "a whole number in [1, 1000000000]"]
    accumulate: Annotated[int, "a whole number in [1, 1000000]"] = 1
    autocast: Literal["bfloat16", "float16"] | None = None
    clip_norm: Annotated[float, "a number above 0"] | None = None
    augmentation: Augmentation | None = None
    mixing: Mixing | None = None
    no_decay: Literal["norms_and_biases"] | None = None
    parameter_groups: dict[str, dict[str, Any]] | None = None
    ema_decay: Annotated[float, "a number in (0, 1); write e.g. 0.999"] | None = None
    compile: Literal["inductor", "aot_eager", "eager"] | None = None
    memory_format: Literal["channels_last"] | None = None
    validate_every: Annotated[int, "a whole number of at least 1; it counts steps"] | None = None

    def __post_init__(self) -> None:
        check_declared(self)
        check_optimizer(self.optimizer)
        check_groups(self.optimizer, self.parameter_groups, self.no_decay)

    def make_optimizer(self, model: nn.Module) -> Optimizer:
        """Returns the optimizer of the model's parameters, in groups where they are requested.

        Raises:
            ValueError: parameter_groups has a pattern that fits no parameter.
        """
        groups = parameter_groups(model, self.parameter_groups, self.no_decay is None)
        return self.optimizer(groups)

    def autocast_on(self, device: torch.device) -> AbstractContextManager[object]:
        """Returns the context in which outputs and losses are computed."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(device.type, AUTOCAST[self.autocast])

    def forward_of(self, replica: nn.Module) -> Callable[..., Any]:
        """Returns what computes a replica's outputs in training.

        Masks are values, not code, so a compiled pass serves all levels of the same shapes.
        """
        return replica if self.compile is None else torch.compile(replica, backend=self.compile)

    def laid_out(self, inputs: Inputs) -> Inputs:
        """Returns inputs in the format in which convolutions compute: their weights follow it."""
        return inputs if self.memory_format is None else map_inputs(_channels_last, inputs)

    def check_ranks(self, ranks: Ranks) -> None:
        """Raises ValueError unless every rank gets an equal shard of a full global batch."""
        if self.batch_size % ranks.world_size:
            below = self.batch_size - self.batch_size % ranks.world_size
            raise ValueError(
                f"batch_size={self.batch_size} is the global batch and {ranks.world_size} ranks do "
                f"not divide it; use {below or ranks.world_size} or {below + ranks.world_size}"
            )

    def augmentation_for(self, split: Split) -> Augmentation | None:
        """Returns the augmentation in the scale of a split's inputs, or None without one.

        Raises:
            ValueError: it needs pixels, and the split does not say how its inputs were made.
        """
        if self.augmentation is None:
            return None
        return with_scale(self.augmentation, pixel_scale_of(split))

    def check_inputs(self, inputs: Inputs, split: Split) -> None:
        """Raises ValueError unless augmentation and mixing accept such inputs of the split."""
        for key, part in {"augmentation": self.augmentation, "mixing": self.mixing}.items():
            if part is not None and not isinstance(inputs, Tensor):
                raise ValueError(
                    f"{key}={type(part).__name__} changes one tensor, and the data has several "
                    f"inputs: {', '.join(inputs)}; leave {key} out, or transform the samples in "
                    "the data set"
                )
        if not isinstance(inputs, Tensor):
            return
        if self.mixing is not None:
            self.mixing.mix(inputs, inputs, [0.0] * self.mixing.draws)
        if (augmentation := self.augmentation_for(split)) is not None:
            draws = torch.zeros(len(inputs), augmentation.draws, device=inputs.device)
            augmentation.apply(inputs, draws.double())

    def steps_per_epoch(self, samples: int) -> int:
        return steps_per_epoch(samples, self.batch_size)
