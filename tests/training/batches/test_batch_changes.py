"""Tests that augmented and mixed batches depend on neither ranks, micro-batches nor resumes."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from conftest import cases
from portioned import group, steps
from small_training import blobs, context, mlp, points, trainer
from torch import nn
from torch.nn import functional as F

from harness.augmentation.crop_flip import CropFlip
from harness.augmentation.rand_augment import RandAugment
from harness.data.base import Split
from harness.data.shared.pixels import Pixels
from harness.mixing.cutmix import Cutmix
from harness.mixing.mixup import Mixup
from harness.mixing.mixup_or_cutmix import MixupOrCutmix
from harness.task.classification import Classification
from harness.training.batches.batch_changes import BatchChanges, ChangedBatch
from harness.training.batches.batching import epoch_order
from harness.training.context import Hooks
from harness.training.trainer import Trainer

SAMPLES, BATCH = 23, 12


def pictures() -> Split:
    stream = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (SAMPLES, 3, 8, 8), generator=stream, dtype=torch.uint8)
    return Pixels(pixels, torch.arange(SAMPLES) % 3, (0.5,) * 3, (0.25,) * 3)


def changed(recipe: Trainer, split: Split, world: int, accumulate: int) -> list[list[ChangedBatch]]:
    """Returns per global batch what all ranks train on, in the order of its samples."""
    changes = BatchChanges(recipe, context(split))
    order = epoch_order(SAMPLES, seed=0, level=0, epoch=1)
    found: list[list[ChangedBatch]] = [[] for _ in order.split(BATCH)]
    for ranks in group(world):
        for number, parts in enumerate(steps(order, BATCH, ranks, accumulate, mixed=True)):
            batches = split.batches(part.read for part in parts)
            found[number] += [
                changes.of(part, batch, epoch=1)
                for part, batch in zip(parts, batches, strict=True)
                if part.scale
            ]
    return found


@cases("world, accumulate", (1, 3), (2, 1), (4, 2), (5, 1))
def test_ranks_and_micro_batches_change_nothing_of_a_batch(world, accumulate) -> None:
    recipe = trainer(
        augmentation=RandAugment(), mixing=MixupOrCutmix(mixup_alpha=1.0), batch_size=BATCH
    )
    whole, cut = (changed(recipe, pictures(), *way) for way in ((1, 1), (world, accumulate)))
    for (one,), parts in zip(whole, cut, strict=True):
        for name in ("inputs", "labels", "partner_labels"):
            assert torch.equal(
                torch.cat([getattr(part, name) for part in parts]), getattr(one, name)
            )
        assert {part.weight for part in parts} == {one.weight}
    assert whole[0][0].weight != whole[1][0].weight


def test_the_partner_is_the_sample_before_and_is_augmented_as_itself() -> None:
    split, augmentation = pictures(), CropFlip(2)
    ((plain,), _) = changed(trainer(augmentation=augmentation), split, 1, 1)
    ((mixed,), _) = changed(trainer(augmentation=augmentation, mixing=Mixup(1.0)), split, 1, 1)

    own = plain.inputs[1:]  # without mixing the partner of the first one is in front
    assert torch.equal(mixed.inputs, (1 - mixed.weight) * own.roll(1, 0) + mixed.weight * own)
    assert torch.equal(mixed.partner_labels, mixed.labels.roll(1, 0))


def test_the_loss_is_the_weighted_mean_of_both_labels_losses() -> None:
    outputs = torch.tensor([[1.0, 0.0, 2.0], [0.5, 0.5, 0.0]])
    labels, partners = torch.tensor([0, 1]), torch.tensor([2, 2])
    loss = ChangedBatch(torch.zeros(2), labels, partners, 0.75).loss(Classification(), outputs)
    soft = 0.75 * F.one_hot(labels, 3) + 0.25 * F.one_hot(partners, 3)
    assert float(loss) == pytest.approx(float(-(soft * outputs.log_softmax(1)).sum()))


@dataclass
class Kept:
    """Keeps the state after some steps of the first epoch."""

    at: int
    state: dict[str, Any] | None = None

    def begin(self, optimizer: object) -> None:
        pass

    def is_due(self, step: int) -> bool:
        return step == self.at and self.state is None

    def save(self, epoch: int, step: int, state: Any) -> None:
        if (epoch, step) == (0, self.at):
            self.state = deepcopy(state())


def test_a_training_resumed_within_an_epoch_ends_with_the_same_bits() -> None:
    recipe = trainer(mixing=Mixup(1.0), batch_size=8, epochs=2)
    kept = Kept(at=2)
    whole, resumed = mlp(), mlp()
    data = context(blobs(), Classification())

    curve = recipe.fit(whole, data, Hooks(saver=kept)).curve
    assert kept.state is not None
    again = recipe.fit(resumed, data, Hooks(), resumed=kept.state).curve

    assert state_of(resumed) == state_of(whole)
    assert again == curve
    assert state_of(whole) != state_of(trained_without_mixing())


def trained_without_mixing() -> nn.Module:
    model = mlp()
    trainer(batch_size=8, epochs=2).fit(model, context(blobs(), Classification()), Hooks())
    return model


def state_of(model: nn.Module) -> list[list[float]]:
    return [parameter.flatten().tolist() for parameter in model.parameters()]


@cases(
    "changes, message",
    ({"augmentation": RandAugment()}, "rand_augment needs the pixels"),
    ({"mixing": Cutmix()}, r"mixing=cutmix needs images .* shape \(1, 2\); choose mixing=mixup"),
)
def test_what_does_not_fit_the_data_is_refused_before_training(changes, message) -> None:
    split = points([1.0, 2.0])
    with pytest.raises(ValueError, match=message):
        trainer(**changes).check_inputs(split.inputs, split)
