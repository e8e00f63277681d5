"""The rule that all methods have the same retraining budget: epochs and steps."""

from dataclasses import replace
from pathlib import Path

from fair_survey import said, verdicts, write

from harness.records import Record


def test_equal_epochs_of_more_steps_are_another_budget(tmp_path: Path) -> None:
    def smaller_batches(record: Record) -> Record:
        more = record.method == "random" and record.level and record.target_compression > 8
        return replace(record, steps=20 * int(record.target_compression)) if more else record

    write(tmp_path, smaller_batches)
    assert verdicts(tmp_path) == {"same retraining budget": "fail"}
    evidence = said(tmp_path, "same retraining budget")
    assert evidence == "Random (lenet5, digits): 320 to 640 steps where others have 10"


def test_more_epochs_of_more_steps_are_told_once(tmp_path: Path) -> None:
    def longer(record: Record) -> Record:
        more = record.method == "random" and record.level
        return replace(record, epochs=2, steps=20) if more else record

    write(tmp_path, longer)
    evidence = said(tmp_path, "same retraining budget")
    assert evidence == "Random (lenet5, digits): 2 epochs where others have 1"


def test_a_budget_that_nobody_recorded_is_not_called_equal(tmp_path: Path) -> None:
    write(tmp_path, lambda record: replace(record, epochs=None))  # type: ignore[arg-type]
    assert verdicts(tmp_path) == {"same retraining budget": "missing"}
    assert "45 results lack epochs or steps" in said(tmp_path, "same retraining budget")
