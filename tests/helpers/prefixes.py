"""Gives a config whose run has every stage, and compares the keys of stages."""

from harness.launch.compose import compose_config
from harness.launch.variables import plain
from harness.run_folder.identity import hashed_config_of
from harness.run_folder.stage_keys import LevelStage

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


def first_other(one: dict[LevelStage, str], other: dict[LevelStage, str]) -> LevelStage | None:
    """Returns the place where two chains part; from there on no key is equal again."""
    shared = [place for place, key in one.items() if other.get(place) == key]
    assert shared == list(one)[: len(shared)]
    return next((place for place in one if place not in shared), None)


def target_of(part: object) -> str:
    return f"{type(part).__module__}.{type(part).__name__}"
