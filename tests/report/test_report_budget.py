"""The rule that all methods have the same retraining budget: epochs and steps."""

from dataclasses import replace
from pathlib import Path

from conftest import cases
from fair_survey import details_of, verdicts, write
from survey_records import dense, make, write_run

from harness.report.protocol.finding import Finding
from harness.report.protocol.training_budget import retraining_budget
from harness.report.read.load import load
from harness.run_folder.records import Record


def test_equal_epochs_of_more_steps_are_another_budget(tmp_path) -> None:
    def smaller_batches(record: Record) -> Record:
        more = record.method == "random" and record.level and record.requested_compression > 8
        return replace(record, steps=20 * int(record.requested_compression)) if more else record

    write(tmp_path, smaller_batches)
    assert verdicts(tmp_path) == {"same retraining budget": "fail"}
    details = details_of(tmp_path, "same retraining budget")
    assert details == "Random (lenet5, digits): 320 to 640 steps where most have 10"


def test_more_epochs_of_more_steps_are_told_once(tmp_path) -> None:
    def longer(record: Record) -> Record:
        more = record.method == "random" and record.level
        return replace(record, epochs=2, steps=20) if more else record

    write(tmp_path, longer)
    details = details_of(tmp_path, "same retraining budget")
    assert details == "Random (lenet5, digits): 2 epochs where most have 1"


def test_a_budget_that_nobody_recorded_is_not_called_equal(tmp_path) -> None:
    write(tmp_path, lambda record: replace(record, epochs=None))  # type: ignore[arg-type]
    assert verdicts(tmp_path) == {"same retraining budget": "missing"}
    assert "45 results lack epochs or steps" in details_of(tmp_path, "same retraining budget")


def whole(folder: Path, epochs: list[int], first: str = "initial") -> Finding:
    """Returns the finding on Magnitude, of 3 dense epochs and 3 more, beside SNIP.

    `epochs` holds the length of SNIP's training at each level.

    first: "initial", or "penalised": a penalty of so many epochs before the first pruning.
    """
    magnitude = {"method": "global_magnitude", "label": "Global Magnitude", "setting": "g"}
    retrained = make(**magnitude, requested_compression=4.0, epochs=3, steps=30)
    write_run(folder / "g", dense(**magnitude, epochs=3, steps=30), retrained)
    rows = [make(level=0, stage="initial", epochs=0, steps=0, requested_compression=1.0)]
    if first == "penalised":
        length, *epochs = epochs
        rows.append(make(stage="penalised", epochs=length, steps=10 * length))
    for level, length in enumerate(epochs, start=1):
        same = {"level": level, "requested_compression": 4.0 ** (level / len(epochs))}
        rows.append(make(**same, stage="pruned", epochs=0, steps=0))
        rows.append(make(**same, epochs=length, steps=10 * length))
    write_run(folder / "s", *rows)
    return retraining_budget(load(folder))


@cases(
    "epochs, first, verdict",
    ([3], "initial", "pass"),  # pruned at initialisation: the dense network is not needed
    ([1, 1, 1], "initial", "fail"),  # as long as the others' retraining, on trained weights
    ([2, 2, 2], "initial", "pass"),
    ([3, 3], "initial", "pass"),
    ([1, 3], "initial", "fail"),
    ([1, 2], "penalised", "fail"),
    ([3, 3], "penalised", "pass"),
)
def test_what_scores_trained_weights_without_a_dense_network_must_equal_the_others_in_all(
    tmp_path, epochs, first, verdict
) -> None:
    found = whole(tmp_path, epochs, first)
    assert found.verdict == verdict
    totals = f"in all, dense training included: Global Magnitude 6, SNIP {sum(epochs)}"
    assert found.verdict == "pass" or totals in found.details
