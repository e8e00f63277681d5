"""Tests every claim on a survey: a row each, with verdict, effect, and the command to test it."""

from math import nan
from typing import Any

import pandas as pd

from harness.report.claims.claim import Claim, claims
from harness.report.claims.differences import COLUMNS as DIFFERENCES
from harness.report.claims.differences import differences, mean_epochs
from harness.report.claims.treatments import treated
from harness.report.claims.verdict import UNTESTED, Effect, judge
from harness.report.read.survey import Survey
from harness.task.shared.measures import TOP1

COLUMNS = [
    *("key", "claim", "source", "published", "fails", "verdict", "effect_points", "low", "high"),
    *("seeds", "cells", "detail", "way"),
]
_MOST_NAMED = 8


def check(survey: Survey) -> pd.DataFrame:
    """Returns a row (COLUMNS) per claim of claims.yaml, in its order.

    effect_points, low and high are the effect of the deciding comparison in points of top-1, and
    its 95 % interval over seeds. They are NaN where these runs cannot test the claim.

    Raises:
        ValueError: the runs' measure is not top-1.
    """
    if survey.measure != TOP1:
        raise ValueError(
            f"--claims tests claims about top-1, and these runs measure {survey.measure.name}; "
            "leave --claims out"
        )
    # A folder with sensitivity analyses only has no results and no columns.
    rows = survey.results if survey.results.empty else treated(survey)
    return pd.DataFrame([judged(rows, claim) for claim in claims()], columns=COLUMNS)


def judged(rows: pd.DataFrame, claim: Claim) -> dict[str, Any]:
    """Returns the row (COLUMNS) of one claim; `rows` are results with their treatments."""
    pairs = pd.DataFrame(columns=DIFFERENCES) if rows.empty else differences(rows, claim)
    verdict = judge(pairs, claim.tolerance, claim.mode)
    names = ("key", "claim", "source", "published", "fails", "way")
    row = {name: getattr(claim, name) for name in names} | {"verdict": verdict.verdict}
    if verdict.verdict == UNTESTED:
        effect = dict.fromkeys(("effect_points", "low", "high"), nan)
        counts = {name: pairs[name[:-1]].nunique() for name in ("seeds", "cells")}
        return {**row, **effect, **counts, "detail": _untested(pairs, claim)}
    first = verdict.effects[0]
    return {
        **row,
        "effect_points": first.points,
        "low": first.low,
        "high": first.high,
        "seeds": first.seeds,
        "cells": first.cells,
        "detail": _detail(verdict.effects, pairs),
    }


def _untested(pairs: pd.DataFrame, claim: Claim) -> str:
    if not pairs.empty:
        return (
            f"{pairs['cell'].nunique()} cells with one seed only: mean difference "
            f"{pairs['points'].mean():+.2f}; run two seeds at least, better three or more"
        )
    if claim.kind == "collapsed":
        return "no pair of such runs in which a model has an empty layer"
    return "no two results that differ in this and in nothing else"


def _detail(effects: list[Effect], pairs: pd.DataFrame) -> str:
    named = [_words(effect) for effect in effects[:_MOST_NAMED]]
    more = len(effects) - len(named)
    parts = [f"the first of {len(effects)} comparisons decides"] if len(effects) > 1 else []
    parts += [*named, *([f"and {more} more"] if more else [])]
    seeds = min(effect.seeds for effect in effects)
    if seeds < 3:
        parts.append(f"only {seeds} seeds: the interval is wide")
    epochs = mean_epochs(pairs)
    if epochs:
        parts.append(
            f"{epochs['better']:.3g} epochs of training in all against {epochs['than']:.3g}"
        )
    return "; ".join(parts)


def _words(effect: Effect) -> str:
    """Formats an effect.

    >>> _words(Effect("A against B", 1.234, 0.5, 2.0, 0, 0, 3, 4))
    'A against B +1.23 [+0.50, +2.00] (3 seeds, 4 cells)'
    """
    return (
        f"{effect.comparison} {effect.points:+z.2f} [{effect.low:+z.2f}, {effect.high:+z.2f}] "
        f"({effect.seeds} seeds, {effect.cells} cells)"
    )
