"""Runs of several levels that share stages, and the stages they leave."""

from pathlib import Path

from sharing import SMALL, Point, marked

KEEP: Point = (*SMALL, "schedule=constant", "schedule.levels=2", "checkpoint.every_steps=2")
DEEP: Point = (*KEEP, "schedule.levels=3")
REWIND: Point = (*DEEP, "finetune=weight_rewind", "dense_checkpoints=[1]")
MARKS = marked([KEEP, DEEP, REWIND])


def stages(runs: Path) -> list[Path]:
    return sorted(runs.glob(".cache/stages/??/*/state.stage"))
