"""Keys of stages: equal as long as nothing differs that a stage could depend on."""

import copy
from dataclasses import fields
from typing import Any

import pytest
from conftest import cases, every
from prefixes import (
    ASKED,
    DENSE,
    FINETUNED,
    FULL,
    LEVEL_1,
    PENALISED,
    PRUNED,
    RECALIBRATED,
    first_other,
    target_of,
)

from harness.experiment.experiment import Experiment
from harness.run_folder.identity import Config
from harness.run_folder.stage_keys import (
    KEEP_MASKS,
    NEED_NO_MASKS,
    LevelStage,
    stage_keys,
)

# The first stage that reads each field of an experiment; None: no stage does.
FIRST: dict[str, LevelStage | None] = {
    **dict.fromkeys(("seed", "model", "data", "task", "training", "prune_at", "gradual"), DENSE),
    **dict.fromkeys(("dtype", "sync_batch_norm", "gradient_dtype"), DENSE),
    **dict.fromkeys(("weights", "weights_skip", "latency_table"), DENSE),
    # A part from outside: it may know more than its protocol says.
    "pruning_order": DENSE,
    **dict.fromkeys(("penalty", "retraining", "structure", "exclude"), PENALISED),
    **dict.fromkeys(
        ("saliency", "allocation", "calibration", "control", "schedule", "compact"), PRUNED
    ),
    "mask_updates": PRUNED,
    "recalibration": RECALIBRATED,
    "finetune": FINETUNED,
    "distillation": FINETUNED,
    **dict.fromkeys(("dense_checkpoints", "rescore_trained"), None),
}


def changed(config: Config, key: str, value: Any = "changed") -> Config:
    part = config.get(key, {} if key == "gradual" else None)
    return {**config, key: {**part, "changed": value} if isinstance(part, dict) else value}


def without(config: Config, *keys: str) -> Config:
    return {key: value for key, value in config.items() if key not in keys}


def test_a_run_goes_through_its_stages_in_order() -> None:
    assert list(stage_keys(FULL, ASKED)) == [DENSE, *LEVEL_1, *((2, stage) for _, stage in LEVEL_1)]
    less = without(FULL, "penalty", "recalibration")
    assert list(stage_keys(less, [0.5])) == [DENSE, PRUNED, FINETUNED]


@pytest.mark.parametrize("field", [field.name for field in fields(Experiment)])
def test_a_field_changes_the_keys_from_the_first_stage_that_reads_it(field) -> None:
    assert (
        first_other(stage_keys(FULL, ASKED), stage_keys(changed(FULL, field), ASKED))
        == FIRST[field]
    )


def test_a_field_that_this_knows_nothing_of_changes_all_keys() -> None:
    assert first_other(stage_keys(FULL, ASKED), stage_keys(changed(FULL, "new"), ASKED)) == DENSE


@pytest.mark.parametrize(
    "field", [name for name, part in FULL.items() if isinstance(part, dict) and name != "schedule"]
)
def test_a_part_from_outside_decides_every_stage(field) -> None:
    one, other = ({**FULL, field: {"_target_": "mine.Part", "value": value}} for value in (1, 2))
    assert first_other(stage_keys(one, ASKED), stage_keys(other, ASKED)) == DENSE


def test_a_part_from_outside_inside_of_another_one_decides_every_stage() -> None:
    config = copy.deepcopy(FULL)
    config["retraining"]["augmentation"] = {"_target_": "mine.Shifting"}
    assert first_other(stage_keys(FULL, ASKED), stage_keys(config, ASKED)) == DENSE


def test_without_a_penalty_the_retraining_is_read_later() -> None:
    less = without(FULL, "penalty")
    assert (
        first_other(stage_keys(less, ASKED), stage_keys(changed(less, "retraining"), ASKED))
        == FINETUNED
    )
    assert (
        first_other(stage_keys(less, ASKED), stage_keys(changed(less, "structure"), ASKED))
        == PRUNED
    )


@cases("field", "saliency", "allocation", "calibration", "control", "schedule")
def test_a_penalty_that_foresees_the_pruning_reads_what_it_reads(field) -> None:
    growing = {**FULL, "penalty": {"_target_": "harness.penalty.growing_l2.GrowingL2"}}
    other = changed(growing, field)
    assert first_other(stage_keys(growing, ASKED), stage_keys(other, ASKED)) == PENALISED
    assert first_other(stage_keys(growing, ASKED), stage_keys(growing, [0.25])) == PENALISED


@every("penalty")
def test_what_is_called_blind_says_so_itself(penalty) -> None:
    assert target_of(penalty) not in NEED_NO_MASKS or not penalty.needs_pending_masks


@every("mask_updates")
def test_what_is_called_holding_says_so_itself(mask_updates) -> None:
    assert target_of(mask_updates) not in KEEP_MASKS or not mask_updates.unmasks_between_levels


def test_levels_of_a_shorter_run_are_those_of_a_longer_one() -> None:
    assert first_other(stage_keys(FULL, ASKED), stage_keys(FULL, [0.5, 0.5, 0.5])) is None
    assert first_other(stage_keys(FULL, ASKED), stage_keys(FULL, [0.5, 0.25])) == (2, "pruned")


def test_where_masks_are_let_go_the_last_level_is_another() -> None:
    soft = {**FULL, "mask_updates": {"_target_": "harness.mask_updates.soft.Soft"}}
    assert first_other(stage_keys(soft, ASKED), stage_keys(soft, [0.5] * 3)) == (2, "finetuned")


def test_an_initial_network_is_another_than_a_trained_one() -> None:
    assert next(iter(stage_keys({**FULL, "prune_at": "init"}, ASKED))) == (0, "initial")


@cases("start, stage", ("trained", "dense"), ("init", "initial"))
def test_masks_that_shrink_inside_one_training_have_no_stages(start, stage) -> None:
    inside = {**FULL, "prune_at": "during_training", "gradual": {"start_from": start}}
    assert list(stage_keys(inside, [])) == [(0, stage)]
    for field in FIRST:
        assert first_other(stage_keys(inside, []), stage_keys(changed(inside, field), [])) == (
            0,
            stage,
        )


def test_no_retraining_is_no_stage() -> None:
    none = {**FULL, "finetune": {"_target_": "harness.finetune.none.NoFinetune"}}
    assert list(stage_keys(none, [0.5])) == [DENSE, PENALISED, PRUNED, RECALIBRATED]
