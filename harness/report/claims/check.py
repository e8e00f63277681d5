"""Every claim against a survey: a row each, with verdict, effect, and how to test it."""

from math import nan
from typing import Any

import pandas as pd

from harness.report.claims.claim import Claim, claims
from harness.report.claims.differences import COLUMNS as DIFFERENCES
from harness.report.claims.differences import differences, trained_longer
from harness.report.claims.treatments import treated
from harness.report.claims.verdict import UNTESTED, Effect, judge
from harness.report.read.survey import Survey

COLUMNS = [
    *("key", "claim", "source", "published", "fails", "verdict", "effect_points", "low", "high"),
    *("seeds", "cells", "detail", "way"),
]
_MOST_NAMED = 8


def check(survey: Survey) -> pd.DataFrame:
    """COLUMNS, a row per claim of claims.yaml, in its order.

    effect_points, low and high: of the comparison that decides, in points of top-1, with its
    95 % interval over seeds; NaN where the claim is not testable with these runs.
    """
    # A folder of sensitivity analyses alone has no results, and not their columns.
    rows = survey.results if survey.results.empty else treated(survey)
    return pd.DataFrame([judged(rows, claim) for claim in claims()], columns=COLUMNS)


def judged(rows: pd.DataFrame, claim: Claim) -> dict[str, Any]:
    """The row (COLUMNS) of one claim; `rows` are treated results."""
    found = pd.DataFrame(columns=DIFFERENCES) if rows.empty else differences(rows, claim)
    verdict = judge(found, claim.tolerance, claim.mode)
    said = {name: getattr(claim, name) for name in ("key", "claim", "source", "published", "fails")}
    row = {**said, "verdict": verdict.verdict, "way": claim.way}
    if verdict.verdict == UNTESTED:
        gap = dict.fromkeys(("effect_points", "low", "high"), nan)
        counts = {name: found[name[:-1]].nunique() for name in ("seeds", "cells")}
        return {**row, **gap, **counts, "detail": _untested(found, claim)}
    first = verdict.effects[0]
    return {
        **row,
        "effect_points": first.points,
        "low": first.low,
        "high": first.high,
        "seeds": first.seeds,
        "cells": first.cells,
        "detail": _detail(verdict.effects, found),
    }


def _untested(found: pd.DataFrame, claim: Claim) -> str:
    if not found.empty:
        return (
            f"{found['cell'].nunique()} cells with one seed only: mean difference "
            f"{found['points'].mean():+.2f}; it takes two seeds at least, better three or more"
        )
    if claim.kind == "collapsed":
        return "no pair of such runs in which a network has lost a layer"
    return "no two results that differ in this and in nothing else"


def _detail(effects: list[Effect], found: pd.DataFrame) -> str:
    named = [_words(effect) for effect in effects[:_MOST_NAMED]]
    more = len(effects) - len(named)
    parts = [f"the first of {len(effects)} comparisons decides"] if len(effects) > 1 else []
    parts += [*named, *([f"and {more} more"] if more else [])]
    seeds = min(effect.seeds for effect in effects)
    if seeds < 3:
        parts.append(f"only {seeds} seeds: the interval is wide")
    epochs = trained_longer(found)
    if epochs:
        parts.append(
            f"trained for {epochs['better']:.3g} epochs in all against {epochs['than']:.3g}"
        )
    return "; ".join(parts)


def _words(effect: Effect) -> str:
    """
    >>> _words(Effect("A against B", 1.234, 0.5, 2.0, 0, 0, 3, 4))
    'A against B +1.23 [+0.50, +2.00] (3 seeds, 4 cells)'
    """
    return (
        f"{effect.comparison} {effect.points:+z.2f} [{effect.low:+z.2f}, {effect.high:+z.2f}] "
        f"({effect.seeds} seeds, {effect.cells} cells)"
    )
