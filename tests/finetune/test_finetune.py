import math
from dataclasses import replace

import pytest
import torch
from conftest import cases, every

from harness.finetune.base import Finetune, RetrainingPlan
from harness.finetune.keep import Keep
from harness.finetune.lr_rewind import LrRewind
from harness.finetune.none import NoFinetune
from harness.finetune.reinit import Reinit
from harness.finetune.rewind_to_init import RewindToInit
from harness.finetune.scratch_b import ScratchB
from harness.finetune.scratch_e import ScratchE
from harness.finetune.weight_rewind import WeightRewind
from harness.pruning.part_protocols import check_offers
from harness.vocabulary.step_index import StepIndex
from harness.vocabulary.tensors import Tensors

FRESH = {"w": torch.tensor([-1.0])}


def dense(moment: StepIndex) -> Tensors:
    """Returns a state that says of which moment it is."""
    return {"w": torch.tensor(moment)}


def fresh() -> Tensors:
    return FRESH


def rewound(finetune: Finetune, epochs: int) -> StepIndex:
    """Returns the moment of dense training from which the weights are."""
    weights = finetune.initial_weights(epochs, dense, fresh)
    assert weights is not None
    return StepIndex(*weights["w"].tolist())


@cases("kind", Keep, Reinit)
def test_fine_tuning_goes_by_the_retraining_recipe(kind) -> None:
    assert kind().plan(10, 4.0) == RetrainingPlan("retraining", StepIndex(0), None, "schedule", 1.0)
    assert kind(epochs=7).plan(10, 4.0) == RetrainingPlan("retraining", epochs=7)


@cases("kind", Keep, Reinit)
def test_fine_tuning_by_the_dense_recipe_stays_at_its_last_learning_rate(kind) -> None:
    assert kind(recipe="training").plan(10, 4.0) == RetrainingPlan("training", rate="last")
    assert kind(epochs=7, recipe="training").plan(10, 4.0) == RetrainingPlan(
        "training", epochs=7, rate="last"
    )


@cases("kind", Keep, Reinit)
def test_dense_training_of_no_epochs_has_no_last_learning_rate(kind) -> None:
    with pytest.raises(ValueError, match=r"finetune.recipe=training .*0 epochs; .*=retraining"):
        kind(recipe="training").plan(0, 1.0)
    assert kind().plan(0, 1.0) == RetrainingPlan("retraining")


def test_fine_tuning_keeps_the_weights_and_its_control_takes_new_ones() -> None:
    assert Keep().initial_weights(10, dense, fresh) is None
    assert Reinit().initial_weights(10, dense, fresh) is FRESH


@cases("kind", Keep, Reinit)
@cases("recipe", "dense", None)
def test_a_recipe_that_there_is_not_is_refused(kind, recipe) -> None:
    with pytest.raises(ValueError, match=f"recipe must be training or retraining, got {recipe!r}"):
        kind(recipe=recipe)  # type: ignore[arg-type]


def test_no_retraining_plans_nothing() -> None:
    assert NoFinetune().plan(10, 4.0) is None
    assert NoFinetune().initial_weights(10, dense, fresh) is None


def test_learning_rate_rewinding_runs_the_last_epochs_again_from_the_last_weights() -> None:
    assert LrRewind(epochs=3).plan(10, 4.0) == RetrainingPlan("training", begin=StepIndex(7))
    assert LrRewind(epochs=10).plan(10, 4.0) == RetrainingPlan("training")
    assert LrRewind().plan(10, 4.0) == RetrainingPlan("training")
    assert LrRewind(epochs=3).initial_weights(10, dense, fresh) is None


@cases("finetune", LrRewind(epochs=11), WeightRewind(epochs=11))
def test_rewinding_by_more_epochs_than_there_are_is_refused(finetune) -> None:
    says = r"finetune.epochs=11 .*which has 10 epochs.*raise training.epochs"
    with pytest.raises(ValueError, match=says):
        finetune.plan(10, 1.0)


@cases(
    "finetune, moment",
    (WeightRewind(), StepIndex(1)), (WeightRewind(epoch=3), StepIndex(3)),
    (WeightRewind(epoch=10), StepIndex(10)), (WeightRewind(epoch=0), StepIndex(0)),
    (WeightRewind(step=500), StepIndex(0, 500)), (WeightRewind(step=0), StepIndex(0)),
    (WeightRewind(epochs=3), StepIndex(7)), (WeightRewind(epochs=10), StepIndex(0)),
)  # fmt: skip
def test_weights_and_learning_rate_go_back_to_the_same_moment(finetune, moment) -> None:
    assert finetune.plan(10, 4.0) == RetrainingPlan("training", begin=moment)
    assert finetune.dense_checkpoints_needed(10) == (moment,)
    assert rewound(finetune, 10) == moment


def test_rewinding_beyond_dense_training_is_refused_whatever_is_asked() -> None:
    late = WeightRewind(epoch=99)
    says = r"finetune names epoch 99, .*epochs 0 to 10; .*raise training.epochs"
    with pytest.raises(ValueError, match=says):
        late.plan(10, 1.0)
    with pytest.raises(ValueError, match=says):
        late.dense_checkpoints_needed(10)
    with pytest.raises(ValueError, match="names epoch 1, but dense training has epochs 0 to 0"):
        WeightRewind().plan(0, 1.0)


@cases("given", {"epoch": 2, "step": 0}, {"step": 5, "epochs": 1}, {"epoch": 0, "epochs": 3})
def test_rewinding_to_two_moments_is_refused(given) -> None:
    names = " and ".join(f"{key}={value}" for key, value in given.items())
    with pytest.raises(ValueError, match=f"at most one of .*got {names}; .*others null"):
        WeightRewind(**given)


def test_rewinding_to_init_takes_the_first_weights_and_the_whole_dense_recipe() -> None:
    assert RewindToInit().plan(10, 4.0) == RetrainingPlan("training")
    assert rewound(RewindToInit(), 10) == StepIndex(0)
    assert RewindToInit().dense_checkpoints_needed(10) == (StepIndex(0),)


def test_training_from_scratch_for_the_same_epochs_is_the_dense_recipe() -> None:
    assert ScratchE().plan(10, 4.0) == RetrainingPlan("training")
    assert ScratchE().initial_weights(10, dense, fresh) is FRESH


def test_training_from_scratch_for_the_same_compute_lasts_as_many_times_longer() -> None:
    assert ScratchB().plan(10, 4.5) == RetrainingPlan("training", stretch=4.5)
    assert ScratchB().plan(10, 1.0) == ScratchE().plan(10, 1.0)
    assert ScratchB().initial_weights(10, dense, fresh) is FRESH


@cases("speedup, stretch", (1.5, 1.5), (2.0, 2.0), (4.5, 2.0))
def test_a_limit_cuts_the_longer_training_off(speedup, stretch) -> None:
    assert ScratchB(limit=2).plan(10, speedup) == RetrainingPlan("training", stretch=stretch)


@cases("limit", 0.9, 0, -1, math.nan, math.inf, True, "2")
def test_a_limit_below_dense_training_is_refused(limit) -> None:
    with pytest.raises(ValueError, match=f"limit must be a number >= 1 or null, got {limit!r}"):
        ScratchB(limit=limit)
    assert ScratchB(limit=1).plan(10, 4.5).stretch == 1


@cases("kind", Keep, Reinit, LrRewind, WeightRewind)
def test_retraining_of_no_epochs_has_a_mode_of_its_own(kind) -> None:
    with pytest.raises(ValueError, match=r"epochs must be .*\] or null, got 0; .*finetune=none"):
        kind(epochs=0)
    kind(epochs=1)


@cases(
    "kind, key",
    (Keep, "epochs"), (Reinit, "epochs"), (LrRewind, "epochs"), (WeightRewind, "epochs"),
    (WeightRewind, "epoch"), (WeightRewind, "step"),
)  # fmt: skip
@cases("wrong", -1, 1.0, True, "1", math.nan)
def test_epochs_and_steps_are_whole_numbers(kind, key, wrong) -> None:
    with pytest.raises(ValueError, match=f"{key} must be a whole number .*, got {wrong!r}; "):
        kind(**{key: wrong})  # type: ignore[arg-type]


@every("finetune")
def test_finetune_asks_only_for_the_moments_that_it_announces(finetune) -> None:
    asked: list[StepIndex] = []

    def watched(moment: StepIndex) -> Tensors:
        asked.append(moment)
        return dense(moment)

    finetune.initial_weights(3, watched, fresh)

    assert asked == list(finetune.dense_checkpoints_needed(3))
    assert all(0 <= moment.epoch <= 3 and moment.step == 0 for moment in asked)


@every("finetune")
def test_finetune_keeps_weights_or_gives_the_ones_asked_for(finetune) -> None:
    given = finetune.initial_weights(3, dense, fresh)
    assert (
        given is None
        or given is FRESH
        or rewound(finetune, 3) in finetune.dense_checkpoints_needed(3)
    )


@every("finetune")
def test_the_plan_of_a_mode_depends_on_the_speedup_only_in_its_length(finetune) -> None:
    form, plan = finetune.plan(3, 1.0), finetune.plan(3, 8.0)
    assert (form is None) == (plan is None)
    if plan and form:
        assert replace(plan, stretch=1.0) == form and plan.stretch >= 1
        assert set(finetune.dense_checkpoints_needed(3)) <= {plan.begin}


@every("finetune")
def test_a_modes_file_holds_the_defaults_of_its_class(finetune) -> None:
    assert finetune == type(finetune)()


@every("finetune")
def test_finetune_offers_what_an_experiment_asks_for(finetune) -> None:
    check_offers({"finetune": finetune})


def test_an_experiment_names_what_a_finetune_mode_lacks() -> None:
    with pytest.raises(
        ValueError,
        match="object has no plan; .* has plan, dense_checkpoints_needed, initial_weights",
    ):
        check_offers({"finetune": object()})
