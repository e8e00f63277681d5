"""Checks the protocol of a survey: `pruning-harness report RUNS --lint`."""

from pathlib import Path

import pandas as pd

from harness.report.console import print_table, print_text, to_csv
from harness.report.protocol.rules import CHECKS
from harness.report.read.survey import Survey


def lint(survey: Survey, out: Path) -> int:
    """Prints every rule's verdict and writes lint.csv; returns 0 if all pass, else 1.

    Raises:
        ValueError: the survey has no result of a pruned model.
    """
    table = check(survey)
    print_table(table.rename(columns=str.capitalize))
    out.mkdir(parents=True, exist_ok=True)
    to_csv(table, out / "lint.csv")
    counts = table["verdict"].value_counts()
    verdicts = ", ".join(f"{counts.get(name, 0)} {name}" for name in ("pass", "fail", "missing"))
    print_text(f"{verdicts}\n{out / 'lint.csv'}")
    return int((table["verdict"] != "pass").any())


def check(survey: Survey) -> pd.DataFrame:
    """Returns a row per rule: item, verdict (pass, fail, missing), details, remedy ("" if pass).

    Raises:
        ValueError: the survey has no result of a pruned model.
    """
    if survey.summary.empty:
        raise ValueError(
            f"{survey.runs} has only sensitivity analyses: pass a folder with runs to check"
        )
    return pd.DataFrame({"item": item, **vars(rule(survey))} for item, rule in CHECKS.items())
