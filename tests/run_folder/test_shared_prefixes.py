"""Stages that runs share: those before their end points differ, and which are worth a cache."""

from typing import Any

from conftest import cases
from prefixes import (
    ASKED,
    DENSE,
    FINETUNED,
    FULL,
    PRUNED,
    first_other,
    target_of,
)

from harness.run_folder.identity import Config
from harness.run_folder.stage_keys import (
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


def planned(schedule: Any, unit: str) -> dict[LevelStage, str]:
    node = {"_target_": target_of(schedule), **vars(schedule), "unit": unit}
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
