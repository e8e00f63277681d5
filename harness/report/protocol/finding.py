"""Holds the findings of the protocol's rules, and selects the results that the rules check."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from harness.report.read.survey import Survey

SECTION = ["model", "data"]


@dataclass(frozen=True)
class Finding:
    """Holds what a rule found.

    verdict: pass, fail, or missing (the records lack what the rule needs).
    """

    verdict: str
    details: str
    remedy: str = ""


def to_finding(problems: list[str], good: str, remedy: str, verdict: str = "fail") -> Finding:
    if not problems:
        return Finding("pass", good)
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return Finding(verdict, "; ".join(problems[:3]) + more, remedy)


def pruned(survey: Survey) -> pd.DataFrame:
    return survey.results[survey.results["level"] > 0]


def sections(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for (model, data), same in rows.groupby(SECTION):
        yield f"{model}, {data}", same
