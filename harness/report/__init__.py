"""Records to tables, figures and one HTML page: `pruning-harness report RUNS`.

Reads records.jsonl files only, so it runs on a laptop years later, without torch or Hydra.
The path of the data: read.py (lines), results.py (which record counts), summary.py (mean and
std over seeds), then tables.py, figures.py, latex.py and page/ show the same summary. stats.py has
the tests; paired.py and ranks.py make them over seeds and settings, lint.py checks the protocol,
claims/ the literature's claims, and compare.py sets two folders side by side.
"""

from pathlib import Path


def report(
    runs: Path, out: Path | None = None, against: str | None = None, test: str = "t"
) -> list[Path]:
    """Writes the report of every run under `runs` and returns the files written.

    `runs`: one run's folder, a sweep's or the folder of all runs; `out`: "report" inside it
    unless given; `against`: the label that every other is compared with, seed by seed, by this
    test: "t" or "wilcoxon".

    Raises:
        ValueError: `runs` is no folder or holds no result (of that label); nothing is written.
    """
    # Here, not above: pandas is slow to import, and `import harness.report` should not be.
    from harness.report.read.load import load
    from harness.report.write import write

    return write(load(runs, against, test), out or runs / "report")
