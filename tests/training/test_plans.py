from functools import partial

import pytest
from torch.optim import SGD

from harness.finetune.base import RetrainingPlan
from harness.learning_rate.base import LearningRate
from harness.learning_rate.constant import Constant
from harness.learning_rate.cosine import Cosine
from harness.learning_rate.multi_step import MultiStep
from harness.training.recipe_presets import resolve_recipe
from harness.training.trainer import Trainer
from harness.vocabulary.step_index import StepIndex


def recipe(epochs: int, rate: LearningRate | None = None, lr: float = 1.0) -> Trainer:
    return Trainer(partial(SGD, lr=lr), rate or Constant(), epochs, batch_size=8, clip_norm=lr)


DENSE = recipe(4, MultiStep(milestones=[2, 3], gamma=0.5))
AGAIN = recipe(3, Cosine(), lr=0.1)


def factors(trainer: Trainer, steps_per_epoch: int = 1) -> list[float]:
    steps = range(trainer.epochs * steps_per_epoch)
    rate = trainer.learning_rate
    return [rate.factor(step, steps_per_epoch, trainer.epochs) for step in steps]


def test_a_plan_that_asks_for_nothing_is_the_recipe_that_it_names() -> None:
    assert resolve_recipe(RetrainingPlan("training"), DENSE, AGAIN) == DENSE
    assert resolve_recipe(RetrainingPlan("retraining"), DENSE, AGAIN) == AGAIN


def test_where_a_plan_begins_does_not_change_the_recipe() -> None:
    assert resolve_recipe(RetrainingPlan("training", begin=StepIndex(2, 1)), DENSE, AGAIN) == DENSE


def test_a_plan_changes_length_and_learning_rate_alone() -> None:
    planned = resolve_recipe(
        RetrainingPlan("retraining", epochs=5, rate="last", stretch=2.0), DENSE, AGAIN
    )
    assert (planned.epochs, planned.clip_norm, planned.batch_size) == (10, 0.1, 8)
    assert planned.optimizer is AGAIN.optimizer


def test_a_schedule_falls_over_the_length_that_the_plan_asks_for() -> None:
    planned = resolve_recipe(RetrainingPlan("retraining", epochs=2), DENSE, AGAIN)
    assert planned.epochs == 2
    assert factors(planned) == pytest.approx([1.0, 0.5])


def test_the_last_learning_rate_is_that_of_the_recipes_own_last_step() -> None:
    last = RetrainingPlan("training", rate="last")
    assert factors(resolve_recipe(last, DENSE, AGAIN)) == [0.25] * 4
    # Of a longer or shorter retraining too, though epoch 1 of the schedule lies at 1.
    longer, shorter = (RetrainingPlan("training", epochs=n, rate="last") for n in (6, 2))
    assert factors(resolve_recipe(longer, DENSE, AGAIN)) == [0.25] * 6
    assert factors(resolve_recipe(shorter, DENSE, AGAIN)) == [0.25] * 2


def test_a_stretched_recipe_stretches_its_milestones() -> None:
    planned = resolve_recipe(RetrainingPlan("training", stretch=2.0), DENSE, AGAIN)
    assert factors(planned) == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25]


def test_a_stretched_recipe_of_a_length_of_its_own_stretches_that_length() -> None:
    planned = resolve_recipe(RetrainingPlan("training", epochs=3, stretch=2.0), DENSE, AGAIN)
    assert factors(planned) == [1, 1, 1, 1, 0.5, 0.5]


@pytest.mark.parametrize(
    ("epochs", "stretch", "lasts"),
    [(4, 1.12, 4), (4, 1.13, 5), (4, 64.3, 257), (4, 1.0, 4), (1, 0.1, 1), (0, 3.0, 0)],
)
def test_a_stretched_recipe_lasts_whole_epochs(epochs, stretch, lasts) -> None:
    planned = resolve_recipe(RetrainingPlan("training", stretch=stretch), recipe(epochs), AGAIN)
    assert planned.epochs == lasts


def test_a_stretch_below_half_an_epoch_leaves_every_step_as_it_was() -> None:
    planned = resolve_recipe(RetrainingPlan("training", stretch=1.12), DENSE, AGAIN)
    assert factors(planned, steps_per_epoch=7) == factors(DENSE, steps_per_epoch=7)


def test_a_recipe_of_no_epochs_stays_one() -> None:
    assert resolve_recipe(RetrainingPlan("training", stretch=5.0), recipe(0), AGAIN).epochs == 0
    assert resolve_recipe(RetrainingPlan("training", epochs=2), recipe(0), AGAIN).epochs == 2


def test_the_last_learning_rate_of_no_epochs_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0: .* no last learning rate"):
        resolve_recipe(RetrainingPlan("training", epochs=2, rate="last"), recipe(0), AGAIN)


def test_an_optimizer_of_matrices_alone_is_built_and_its_bad_arguments_are_refused() -> None:
    muon = pytest.importorskip("torch", minversion="2.9").optim.Muon
    Trainer(partial(muon, lr=0.1), Constant(), epochs=1, batch_size=8)
    with pytest.raises(ValueError, match="Learning rate should be"):
        Trainer(partial(muon, lr=-1.0), Constant(), epochs=1, batch_size=8)
