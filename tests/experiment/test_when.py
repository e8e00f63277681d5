"""Pruning before a training and at its first step are one and the same."""

from dataclasses import replace
from pathlib import Path

import pytest
from command import TINY, only_run, records_of, run_main
from conftest import cases

from harness.run_folder.records import Record


def last_record(runs: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> Record:
    assert run_main(monkeypatch, *TINY, *overrides, f"output_dir={runs}") == 0
    return records_of(only_run(runs))[-1]


@cases(
    "before, inside",
    ("prune_at=init", "gradual.start_from=init"),
    ("prune_at=after_training", "gradual.start_from=trained"),
)
@cases("saliency", "random", "weight_gradient")
def test_a_pruning_at_step_0_is_one_before_the_training(
    before, inside, saliency, tmp_path, monkeypatch
) -> None:
    shared = (f"saliency={saliency}", "schedule.final=0.3", "retraining.epochs=2")
    one = last_record(tmp_path / "one", monkeypatch, *shared, before)
    other = last_record(
        tmp_path / "other",
        monkeypatch,
        *shared,
        "prune_at=during_training",
        "gradual.interval=1",
        inside,
    )

    names = {name: getattr(one, name) for name in ("run", "setting", "method", "label")}
    # There the training is the run's one; its optimizer began before the pruning.
    assert replace(other, **names, optimizer_state=one.optimizer_state) == one
