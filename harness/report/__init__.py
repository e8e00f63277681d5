"""Turns records into tables, figures and one HTML page: `pruning-harness report RUNS`.

A report reads files of run folders only, so it needs neither torch nor Hydra. The data goes
through read/ (records.py reads, results.py selects), significance/summary.py (mean and std over
seeds), and then to tables.py, figures/ and page/, which show the same summary.

significance/ has the statistical tests (stats.py), their use over seeds and settings (paired.py,
ranks.py), and the comparison of two folders (compare.py). protocol/ checks the rules of a fair
survey, claims/ tests claims of the literature, and published/ has published figures.
"""

from pathlib import Path

from harness.extras import check_extra

check_extra("report", "a report")  # here, so that it holds for every module of this folder


def report(
    runs: Path, out: Path | None = None, against: str | None = None, test: str = "t"
) -> list[Path]:
    """Writes the report of all runs below a folder, and returns the files written.

    Args:
        runs: Folder of a run, of a sweep or of all runs.
        out: Folder of the report; by default runs/report.
        against: The label with which all other labels are compared, seed by seed.
        test: The test of this comparison, "t" or "wilcoxon".

    Raises:
        ValueError: `runs` is not a folder, or has no result (of that label). Nothing is written.
    """
    # Imported here, because pandas is slow to import.
    from harness.report.read.load import load
    from harness.report.write import write

    return write(load(runs, against, test), out or runs / "report")
