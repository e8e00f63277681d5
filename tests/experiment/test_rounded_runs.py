"""Tests runs whose widths stay in multiples, at every level, round and event."""

from pathlib import Path

from command import only_run, records_of, run_main
from conftest import cases
from forked_ranks import harness_on_ranks
from safetensors.torch import load_file

from harness.run_folder.records import Record

TINY = (
    "data=blobs", "model=mlp", "model.hidden=[40,30]", "structure=neuron", "structure.round_to=8",
    "allocation=uniform", "training.epochs=1", "retraining.epochs=1", "calibration.samples=64",
    "tracking=none", "dtype=float64", "rehearse=false",
)  # fmt: skip
LEVELS = ("schedule=geometric", "schedule.levels=3", "schedule.final=0.3", "schedule.rounds=2")


def run(monkeypatch, folder: Path, *more: str) -> Path:
    assert run_main(monkeypatch, *TINY, *more, f"output_dir={folder}") == 0
    return only_run(folder)


def widths(folder: Path) -> list[int]:
    masks = load_file(folder / "masks.safetensors")
    return [int(masks[f"fc{number}.bias"].count_nonzero()) for number in (1, 2)]


def left(record: Record) -> float:
    return round(record.density * (40 * 9 + 30 * 41))


@cases(
    "more",
    LEVELS,
    (*LEVELS, "compact=levels", "allocation.min_units=1"),
    ("prune_at=during_training", "schedule=cubic", "schedule.final=0.3", "gradual.interval=2"),
    ("prune_at=init", "schedule=one_shot", "schedule.final=0.3", "control=random"),
    ids=["levels", "smaller levels", "events", "control"],
)
def test_every_level_leaves_multiples_and_ends_near_what_was_asked(
    tmp_path, monkeypatch, more
) -> None:
    folder = run(monkeypatch, tmp_path, *more)
    records = records_of(folder)
    sizes = [left(record) for record in records]
    assert sizes == sorted(sizes, reverse=True)
    # Of 40 and 30 neurons.
    assert set(sizes) <= {a * 9 + b * 41 for a in range(8, 41, 8) for b in (8, 16, 24, 30)}
    # 21 of 70 units: 16 and 8 are as near as multiples come.
    assert sizes[-1] == 16 * 9 + 8 * 41
    assert records[-1].label.endswith("(round to 8)" if "control" not in more[-1] else "(random)")


def test_two_ranks_keep_what_one_keeps(tmp_path, monkeypatch) -> None:
    alone = run(monkeypatch, tmp_path / "1", *LEVELS)
    done = harness_on_ranks(2, *TINY, *LEVELS, f"output_dir={tmp_path / '2'}")
    assert done.returncode == 0, done.stderr
    two = only_run(tmp_path / "2")
    assert records_of(two)[-1].masks == records_of(alone)[-1].masks
    assert widths(two) == [16, 8]


def test_a_limit_is_that_of_rounded_floors(tmp_path, monkeypatch, capfd) -> None:
    more = ("schedule=one_shot", "schedule.unit=compression", "allocation.min_units=1")
    # 8 of each stay, of 8 inputs to 4 classes.
    limit = (40 * 9 + 30 * 41 + 4 * 31) / (8 * 9 + 8 * 9 + 4 * 9)
    assert run_main(monkeypatch, *TINY, *more, "schedule.final=10", f"output_dir={tmp_path}") != 0
    error = capfd.readouterr().err
    assert f"a compression of {limit:.3f}"[:-1] in error and "structure.round_to" in error


def test_what_rounding_leaves_whole_is_refused_before_any_training(
    tmp_path, monkeypatch, capfd
) -> None:
    more = (*TINY, "schedule=one_shot", f"output_dir={tmp_path}")
    for key, words in (
        ("structure.round_to=64", "structure.round_to=64 leaves nothing to prune"),
        ("schedule.final=0.98", "leaves nothing to prune at the requested size"),
    ):
        assert run_main(monkeypatch, *more, key) != 0
        assert words in capfd.readouterr().err
    assert not list(tmp_path.rglob("records.jsonl"))
