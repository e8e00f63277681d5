"""Runs that share stages end as they do alone, to the bit, and train less."""

from collections import Counter

import pytest
from sharing import SMALL, SOFT, STEPS_PER_EPOCH, Point, chain_of, counting, left, marked, start

from harness.run_folder.records import STAGES
from harness.run_folder.stage_keys import LevelStage

LEVELS = ("schedule=constant", "schedule.levels=2")
DEEPER = ("schedule=constant", "schedule.levels=3")
WAYS = ("keep", "weight_rewind", "lr_rewind")
POINTS: dict[tuple[str, int], Point] = {
    (way, depth): (
        *SMALL, "dense_checkpoints=[1]", f"finetune={way}", "schedule=constant",
        f"schedule.levels={depth}",
    ) for depth in (2, 3) for way in WAYS
}  # fmt: skip


@pytest.fixture(scope="module", name="alone")
def fixture_alone(tmp_path_factory) -> dict[Point, dict[str, bytes]]:
    runs = tmp_path_factory.mktemp("alone")
    return {point: left(start(runs, point)) for point in POINTS.values()}


@pytest.mark.parametrize("backwards", [False, True])
def test_ways_of_retraining_to_several_depths(tmp_path, alone, backwards) -> None:
    points = list(POINTS.values())
    with counting() as steps:
        for point in reversed(points) if backwards else points:
            assert left(start(tmp_path, point, marked(points))) == alone[point]

    # Dense training is 2 epochs; keep retrains for 1, rewinding to epoch 1 too, lr_rewind for 2.
    # Alone each way has 2 + 3 levels, together the 3 of the deeper run.
    epochs = {level: count / STEPS_PER_EPOCH for level, count in Counter(steps).items()}
    assert epochs == {0: 2, 1: 4, 2: 4, 3: 4}


def test_an_earlier_run_leaves_what_the_plan_marked_and_nothing_else(tmp_path) -> None:
    points = list(POINTS.values())
    start(tmp_path, POINTS["keep", 3], marked(points))

    # Its masks of level 1, which other ways take from there, and the levels of keep at depth 2.
    assert len(list(tmp_path.glob(".cache/stages/??/*/state.stage"))) == 3


def test_a_run_without_a_plan_reads_and_writes_no_stage(tmp_path) -> None:
    points = list(POINTS.values())
    start(tmp_path, POINTS["keep", 3], marked(points))
    with counting() as steps:
        start(tmp_path, POINTS["keep", 2])

    assert Counter(steps) == {1: 4, 2: 4}
    start(tmp_path / "other", POINTS["keep", 2])
    assert not (tmp_path / "other" / ".cache/stages").exists()


def places(*points: Point) -> list[LevelStage]:
    """Returns the marked stages of the last point."""
    return [place for place, key in chain_of(points[-1]).items() if key in marked(points)]


def upto(level: int, stage: str) -> list[LevelStage]:
    """Returns the trainings before this stage, without penalty, and the stage itself at the end."""
    trained = [(one, "finetuned") for one in range(1, level)]
    return [*trained, (level, stage)]


L1, GROWING = ("penalty=l1",), ("penalty=growing_l2", "penalty.step_size=0.5")
RECALIBRATION = ("recalibration=batch_norm",)
RIGL = (
    "prune_at=init",
    "mask_updates=rigl",
    "mask_updates.update_interval=1",
    "mask_updates.stop_fraction=1.0",
)
EXPLICIT = ("schedule=explicit", "schedule.values=[0.5,0.25]")
PAIRS: dict[str, tuple[Point, Point, list[LevelStage]]] = {
    "one shot": (("finetune=keep",), ("finetune=weight_rewind",), [(1, "pruned")]),
    "no retraining": (("finetune=none",), ("finetune=keep",), [(1, "pruned")]),
    "at initialisation": (("method=snip",), ("method=snip", "finetune=scratch_e"), [(1, "pruned")]),
    "one shot, then more": ((), DEEPER, upto(1, "finetuned")),
    "listed": ((), EXPLICIT, upto(1, "finetuned")),
    "compression": (
        (*LEVELS, "schedule.unit=compression", "schedule.final=2"),
        (*DEEPER, "schedule.unit=compression", "schedule.final=2"),
        upto(2, "finetuned"),
    ),
    "blind penalty": (
        (*LEVELS, *L1), (*LEVELS, *L1, "method=random"), [(1, "penalised")],
    ),
    "penalty that foresees": (
        (*LEVELS, *GROWING), (*DEEPER, *GROWING),
        [(1, "penalised"), (1, "finetuned"), (2, "penalised"), (2, "finetuned")],
    ),
    "penalty, other retraining": (
        (*LEVELS, *GROWING), (*LEVELS, *GROWING, "finetune=lr_rewind"),
        [(1, "penalised"), (1, "pruned")],
    ),
    "recalibration": (
        (*LEVELS, *RECALIBRATION), (*DEEPER, *RECALIBRATION, "finetune=reinit"),
        [(1, "recalibrated")],
    ),
    "other recalibration": (
        RECALIBRATION, (*RECALIBRATION, "recalibration.samples=64"), [(1, "pruned")],
    ),
    "distillation": (
        (*LEVELS, "distillation=hinton"), (*DEEPER, "distillation=hinton"), upto(2, "finetuned"),
    ),
    "a teacher for one": (LEVELS, (*LEVELS, "distillation=hinton"), [(1, "pruned")]),
    # The last level of the shorter run holds its masks, the same level of the deeper lets go.
    "soft": ((*LEVELS, *SOFT), (*DEEPER, *SOFT), [(1, "finetuned"), (2, "pruned")]),
    "masks that grow": ((*LEVELS, *RIGL), (*DEEPER, *RIGL), upto(2, "finetuned")),
    "scratch-b": (
        (*LEVELS, "finetune=scratch_b"), (*DEEPER, "finetune=scratch_b"), upto(2, "finetuned"),
    ),
    "curves of the loss": (
        (*LEVELS, "allocation=sensitivity"), (*DEEPER, "allocation=sensitivity"),
        upto(2, "finetuned"),
    ),
    "a control": (
        (*LEVELS, "control=reinitialised"), (*DEEPER, "control=reinitialised"),
        upto(2, "finetuned"),
    ),
    "weights that move": (
        (*LEVELS, "method=obs"), (*LEVELS, "method=obs", "finetune=lr_rewind"), [(1, "pruned")],
    ),
    "rounds": (
        (*LEVELS, "schedule.rounds=2"), (*DEEPER, "schedule.rounds=2"), upto(2, "finetuned"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_two_runs_that_share_a_beginning(tmp_path, name) -> None:
    first, second, shared = PAIRS[name]
    # Listed values have no end point.
    small = SMALL[:-1] if second == EXPLICIT else SMALL
    pair = (*SMALL, *first), (*small, *second)
    assert places(*pair) == shared

    for point in reversed(pair):
        folder = start(tmp_path / "together", point, marked(pair))
        assert left(folder) == left(start(tmp_path / "alone", point))


def test_runs_share_no_more_than_dense_training_where_masks_shrink_inside_one(tmp_path) -> None:
    steps = (*SMALL, "prune_at=during_training", "gradual.interval=1", "retraining.epochs=2")
    assert places(steps, (*steps, "schedule.final=0.25")) == []
    assert list(chain_of(steps)) == [(0, "initial")]


def test_all_stages_of_a_run_have_a_place() -> None:
    point = (*SMALL, *LEVELS, *L1, *RECALIBRATION)
    every = [(level, stage) for level in (1, 2) for stage in STAGES]
    assert list(chain_of(point)) == [(0, "dense"), *every]
