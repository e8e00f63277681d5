"""Tests the learning rate of every step of a retraining, beside those of the dense recipe."""

from pathlib import Path

import pytest
from conftest import cases
from whole_runs import PER_EPOCH, TWO_LEVELS, whole_run

SCHEDULES = {
    "cosine": (
        "learning_rate@training.learning_rate=cosine",
        "training.learning_rate.warmup_epochs=1",
    ),
    "multi_step": (
        "learning_rate@training.learning_rate=multi_step",
        "training.learning_rate.milestones=[2,3]",
        "training.learning_rate.warmup_epochs=0.6",
    ),
}
EVERY_SCHEDULE = pytest.mark.parametrize("schedule", SCHEDULES)
EPOCHS = 4
STEPS = EPOCHS * PER_EPOCH

# Mode -> the step of the dense recipe whose learning rate comes first.
FIRST = {
    ("finetune=lr_rewind",): 0, ("finetune=lr_rewind", "finetune.epochs=1"): 9,
    ("finetune=lr_rewind", "finetune.epochs=3"): 3, ("finetune=weight_rewind",): 3,
    ("finetune=weight_rewind", "finetune.epoch=2"): 6,
    ("finetune=weight_rewind", "finetune.step=7"): 7,
    ("finetune=weight_rewind", "finetune.epochs=2"): 6, ("finetune=rewind_to_init",): 0,
    ("finetune=scratch_e",): 0,
}  # fmt: skip


def rates(folder: Path, schedule: str, *mode: str) -> tuple[list[float], list[float], list[float]]:
    """Returns the rates of dense training, and of the retrainings at levels 1 and 2.

    The retrainings' own recipe is another one.
    """
    whole = whole_run(
        folder, "training=sgd", "training@retraining=sgd", *SCHEDULES[schedule],
        f"training.epochs={EPOCHS}", "retraining.optimizer.lr=0.7", *TWO_LEVELS, *mode,
    )  # fmt: skip
    assert len(whole.rates(0)) == STEPS
    return whole.rates(0), whole.rates(1), whole.rates(2)


def test_the_rates_of_dense_training_by_hand(tmp_path) -> None:
    # 0.1 x (1/2, 1) over round(0.6 x 3) = 2 steps, 1 until epoch 2, then a tenth, and a hundredth.
    dense, _, _ = rates(tmp_path, "multi_step", "finetune=none")
    assert dense == pytest.approx([0.05] + [0.1] * 5 + [0.01] * 3 + [0.001] * 3)


@EVERY_SCHEDULE
@pytest.mark.parametrize("mode", FIRST, ids=" ".join)
def test_a_rewound_recipe_goes_on_at_the_rates_of_its_moment_up_to_its_end(
    tmp_path, schedule, mode
) -> None:
    dense, first, second = rates(tmp_path, schedule, *mode)
    assert first == second == dense[FIRST[mode] :]
    assert len(set(dense)) > 2


@EVERY_SCHEDULE
@cases("mode, epochs, lasts", ("keep", "null", 4), ("keep", "6", 6), ("reinit", "1", 1))
def test_fine_tuning_by_the_dense_recipe_holds_its_last_rate(
    tmp_path, schedule, mode, epochs, lasts
) -> None:
    dense, first, second = rates(
        tmp_path, schedule, f"finetune={mode}", "finetune.recipe=training",
        f"finetune.epochs={epochs}",
    )  # fmt: skip
    assert first == second == [dense[-1]] * (lasts * PER_EPOCH)


@cases("mode", "keep", "reinit")
def test_fine_tuning_by_its_own_recipe_goes_through_its_own_rates(tmp_path, mode) -> None:
    # (1 + cos(pi s / 6)) / 2 x 0.7 over the 6 steps of 2 epochs, in place of the recipe's 1.
    _, first, second = rates(
        tmp_path, "multi_step", f"finetune={mode}", "finetune.epochs=2",
        "learning_rate@retraining.learning_rate=cosine",
    )  # fmt: skip
    by_hand = [0.7, 0.653108891, 0.525, 0.35, 0.175, 0.046891109]
    assert first == second == pytest.approx(by_hand, rel=1e-6)


def test_scratch_b_stretches_milestones_and_warm_up(tmp_path) -> None:
    # Half the weights left at level 1, a quarter at level 2: 8 and 16 epochs in place of 4.
    dense, first, second = rates(tmp_path, "multi_step", "finetune=scratch_b")
    assert first == [rate for rate in dense for _ in range(2)]
    assert second == [rate for rate in dense for _ in range(4)]


def test_scratch_b_stretches_a_cosine_up_to_its_limit(tmp_path) -> None:
    dense, first, _ = rates(tmp_path, "cosine", "finetune=scratch_b", "finetune.limit=1.5")
    assert first == [dense[step * 2 // 3] for step in range(18)]


def test_a_penalty_trains_at_the_rates_of_retraining(tmp_path) -> None:
    whole = whole_run(
        tmp_path, "penalty=l1", "penalty.epochs=2", "training@retraining=sgd",
        "learning_rate@retraining.learning_rate=cosine", "retraining.optimizer.lr=0.7",
        "finetune=lr_rewind",
    )  # fmt: skip
    by_hand = [0.7, 0.653108891, 0.525, 0.35, 0.175, 0.046891109]
    assert whole.rates("1/penalty") == pytest.approx(by_hand, rel=1e-6)
