"""Keys of stages: equal as long as nothing differs that a stage could depend on."""

import copy
from dataclasses import fields
from typing import Any

import pytest
from conftest import cases, every

from harness.experiment.experiment import Experiment
from harness.launch.compose import compose_config
from harness.launch.variables import plain
from harness.run_folder.identity import Config, hashed_config_of
from harness.run_folder.stage_keys import (
    KEEP_MASKS,
    NEED_NO_MASKS,
    LevelStage,
    SharedStages,
    config_by_stage,
    requested_of,
    stage_keys,
    stages_to_cache,
)
from harness.schedule.constant import Constant
from harness.schedule.explicit import Explicit
from harness.schedule.geometric import Geometric
from harness.schedule.linear import Linear
from harness.schedule.one_shot import OneShot

FULL = hashed_config_of(
    plain(
        compose_config(
            ["penalty=l1", "recalibration=batch_norm", "distillation=hinton", "mask_updates=rigl"]
            + ["schedule=constant", "schedule.levels=2", "finetune=keep"]
        )
    )
)
ASKED = [0.5, 0.5]
DENSE: LevelStage = (0, "dense")
LEVEL_1: list[LevelStage] = [(1, "penalised"), (1, "pruned"), (1, "recalibrated"), (1, "finetuned")]
PENALISED, PRUNED, RECALIBRATED, FINETUNED = LEVEL_1
# The first stage that reads each field of an experiment; None: no stage does.
FIRST: dict[str, LevelStage | None] = {
    **dict.fromkeys(("seed", "model", "data", "task", "training", "prune_at", "gradual"), DENSE),
    **dict.fromkeys(("dtype", "sync_batch_norm", "gradient_dtype"), DENSE),
    **dict.fromkeys(("weights", "weights_skip"), DENSE),
    # Parts from outside: they may know more than their protocol says.
    **dict.fromkeys(("pruning_order", "compaction"), DENSE),
    **dict.fromkeys(("penalty", "retraining", "structure", "exclude"), PENALISED),
    **dict.fromkeys(("saliency", "allocation", "calibration", "control", "schedule"), PRUNED),
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


def first_other(one: dict[LevelStage, str], other: dict[LevelStage, str]) -> LevelStage | None:
    """Returns the place where two chains part; from there on no key is equal again."""
    shared = [place for place, key in one.items() if other.get(place) == key]
    assert shared == list(one)[: len(shared)]
    return next((place for place in one if place not in shared), None)


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
    assert _target(penalty) not in NEED_NO_MASKS or not penalty.needs_pending_masks


@every("mask_updates")
def test_what_is_called_holding_says_so_itself(mask_updates) -> None:
    assert _target(mask_updates) not in KEEP_MASKS or not mask_updates.unmasks_between_levels


def _target(part: object) -> str:
    return f"{type(part).__module__}.{type(part).__name__}"


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


def planned(schedule: Any, unit: str) -> dict[LevelStage, str]:
    node = {"_target_": _target(schedule), **vars(schedule), "unit": unit}
    return stage_keys({**FULL, "schedule": node}, requested_of(schedule.kept_fractions))


def test_equal_targets_are_equal_whatever_the_schedule() -> None:
    one = planned(OneShot(final=0.5), "density")
    assert first_other(one, planned(Constant(final=0.5, levels=3), "density")) is None
    assert first_other(one, planned(Explicit([0.5, 0.25]), "density")) is None
    assert first_other(one, planned(OneShot(final=0.5, rounds=2), "density")) == PRUNED


def test_whole_numbers_are_targets_too() -> None:
    whole, broken = OneShot(final=2, unit="compression"), OneShot(final=2.0, unit="compression")
    assert planned(whole, "compression") == planned(broken, "compression")


def test_equal_targets_in_another_unit_are_others() -> None:
    one = OneShot(final=2, unit="compression")
    assert first_other(planned(one, "compression"), planned(one, "speedup")) == PRUNED


@cases("curve", Geometric, Linear)
def test_the_way_to_an_end_point_is_its_own(curve) -> None:
    # 1/2 at level 1 of a compression of 4 in two levels, were nothing in the network left alone.
    unit = "compression"
    two = planned(curve(final=4, levels=2, unit=unit), unit)
    assert first_other(two, planned(Explicit([2, 4], unit=unit), unit)) == PRUNED
    assert first_other(two, planned(curve(final=8, levels=3, unit=unit), unit)) == PRUNED
    assert two == planned(curve(final=4, levels=2, unit=unit), unit)


def test_a_schedule_from_outside_is_its_own() -> None:
    node = {"_target_": "mine.Schedule"}
    chains = [stage_keys({**FULL, "schedule": node | more}, ASKED) for more in ({}, {"final": 1})]
    assert first_other(*chains) == DENSE
    assert first_other(chains[0], stage_keys({**FULL, "schedule": node}, [0.5, 0.25])) == (
        2,
        "pruned",
    )


def test_every_stage_reads_something_of_its_own() -> None:
    found = config_by_stage(FULL, ASKED)
    assert all(found.values())
    unread = {"dense_checkpoints", "rescore_trained"}
    assert set().union(*found.values()) - {"requested"} == set(FULL) - unread


def line(*keys: str) -> dict[LevelStage, str]:
    """Returns a run of one-letter keys: level 0, then pruned and finetuned in turn."""
    places = [(level, stage) for level in (1, 2) for stage in ("pruned", "finetuned")]
    return dict(zip([DENSE, *places], keys, strict=False))


@cases(
    "runs, kept",
    # One run alone has nobody to leave anything to.
    (["dpkql"], ""),
    # Retraining differs: what they part after, but not level 0, which has a cache.
    (["dpx", "dpy"], "p"),
    # The whole level is shared: its end is, and the masks on the way are not needed.
    (["dpkqx", "dpkqy"], "kq"),
    # Of three runs two go on together.
    (["dpk", "dpk", "dpx"], "pk"),
    # The shorter run ends where the longer one goes on.
    (["dpk", "dpkql"], "k"),
    (["dp", "dp"], "p"),
    (["dx", "dy"], ""),
)
def test_what_is_worth_its_place(runs, kept) -> None:
    assert stages_to_cache(line(*run) for run in runs) == set(kept)


NUMERICS = {"world_size": 1}


def shared(config: Config, code: Any = lambda parts: "", numerics: Config = NUMERICS) -> Any:
    marks = stage_keys(config, ASKED).values()
    return SharedStages.of("stages", config, ASKED, marks, numerics, code).keys  # type: ignore[arg-type]


def test_other_numerics_and_other_code_have_other_stages() -> None:
    one = shared(FULL)
    assert first_other(one, shared(FULL, numerics={"world_size": 2})) == DENSE
    assert first_other(one, shared(FULL, lambda parts: "new")) == DENSE


def test_only_the_code_of_what_was_read_so_far_matters() -> None:
    def code(version: int) -> Any:
        return lambda parts: f"finetune {version}" if "finetune" in parts else "before"

    assert first_other(shared(FULL, code(1)), shared(FULL, code(2))) == FINETUNED


def test_only_marked_stages_are_shared() -> None:
    key = stage_keys(FULL, ASKED)[PRUNED]
    found = SharedStages.of("x", FULL, ASKED, {key, "other"}, NUMERICS, str)  # type: ignore[arg-type]
    assert list(found.keys) == [PRUNED]
