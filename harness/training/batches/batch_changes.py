"""Augments and mixes the batches of a training."""

from typing import NamedTuple

import torch
from torch import Tensor

from harness.task.base import Task
from harness.training.batches.batching import MicroBatch
from harness.training.context import TrainingContext
from harness.training.recipe import Recipe
from harness.vocabulary.counter_rng import uniforms
from harness.vocabulary.given.inputs import Inputs
from harness.vocabulary.seeds import derive
from harness.vocabulary.tensors import Batch


class ChangedBatch(NamedTuple):
    """Holds what the model gets, and the labels of its samples and of their partners.

    weight: that of the own labels; without partners it is 1.
    """

    inputs: Inputs
    labels: Tensor
    partner_labels: Tensor | None = None
    weight: float = 1.0

    def loss(self, task: Task, outputs: Tensor) -> Tensor:
        """Returns the task's loss, summed over the samples."""
        own = task.loss(outputs, self.labels)
        if self.partner_labels is None:
            return own
        return self.weight * own + (1 - self.weight) * task.loss(outputs, self.partner_labels)


class BatchChanges:
    """Changes batches as a recipe says, by random numbers of seed, level, epoch, sample and step.

    Neither the number of ranks nor a resumed training changes them.
    """

    def __init__(self, recipe: Recipe, context: TrainingContext):
        self.augmentation, self.mixing = recipe.augmentation_for(context.split), recipe.mixing
        self.context, self.laid_out = context, recipe.laid_out

    def of(self, micro_batch: MicroBatch, batch: Batch, epoch: int) -> ChangedBatch:
        """Returns the batch that is trained on, of the samples that `micro_batch.read` names."""
        inputs, labels = batch
        if not isinstance(inputs, Tensor):
            # Recipe.check_inputs refuses to change named inputs.
            return ChangedBatch(self.laid_out(inputs), labels)
        inputs = self._augmented(micro_batch, inputs, epoch)
        if self.mixing is None:
            return ChangedBatch(self.laid_out(inputs), labels)
        # Every rank draws the same, on the CPU, so that nothing waits for a device.
        number = torch.tensor([micro_batch.number])
        draws = uniforms(self._seed("mixing", epoch), number, self.mixing.draws)[0].tolist()
        mixed, weight = self.mixing.mix(inputs[1:], inputs[:-1], draws)
        return ChangedBatch(self.laid_out(mixed), labels[1:], labels[:-1], weight)

    def _augmented(self, micro_batch: MicroBatch, inputs: Tensor, epoch: int) -> Tensor:
        augmentation = self.augmentation
        if augmentation is None:
            return inputs
        indices = micro_batch.read.to(inputs.device)
        draws = uniforms(self._seed("augmentation", epoch), indices, augmentation.draws)
        return augmentation.apply(inputs, draws)

    def _seed(self, purpose: str, epoch: int) -> int:
        return derive(self.context.seed, purpose, self.context.level, epoch)
