"""Methods that are compared seed by seed, and the table of their differences."""

from pathlib import Path

from survey_records import make, write_run

from harness.report.read.load import load
from harness.report.significance.paired import matrix

LRR = {"label": "Magnitude (lr_rewind)", "setting": "bbbb"}


def write(folder: Path, accuracies: dict[int, float], **changes: object) -> None:
    """Writes a run per seed."""
    for seed, top1 in accuracies.items():
        name = "-".join(f"{key}={value}" for key, value in {**changes, "seed": seed}.items())
        write_run(folder / name.replace("/", "_"), make(seed=seed, top1=top1, **changes))


def table(folder: Path, against: str = "SNIP") -> dict[str, dict[str, str]]:
    (section,) = load(folder, against).sections()
    return matrix(section.paired).to_dict("index")
