"""`python -m harness.report RUNS`: a table in the terminal; CSV, PNG and HTML in a folder."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        _report(options.runs, options.out or options.runs / "report", options.against)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _report(runs: Path, out: Path, against: str | None) -> None:
    # Here, not above: --help should not wait for pandas, nor a wrong folder for matplotlib.
    from harness.report.survey import load

    survey = load(runs, against)
    from harness.report.tables import print_tables
    from harness.report.write import write

    print_tables(survey)
    for path in write(survey, out):
        print(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness.report",
        description="Accuracy against compression and theoretical speed-up, over seeds.",
    )
    parser.add_argument(
        "runs", metavar="RUNS", type=Path, help="folder of a run, of a sweep or of all runs"
    )
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, help="where to write (default: RUNS/report)"
    )
    parser.add_argument(
        "--against", metavar="LABEL", help="compare every other method with this one, seed by seed"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
