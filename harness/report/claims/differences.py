"""Computes paired differences in top-1 accuracy for a claim, seed by seed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness.report.claims.claim import Claim
from harness.report.claims.treatments import GROUPS, rest_of_config

# Columns of a difference: the comparison, its cell and seed, and the epochs of both sides.
COLUMNS = ["comparison", "cell", "seed", "points", "epochs", "epochs_than"]
_PAIR_KEYS = ["model", "data", "seed", "requested_counts"]


def differences(treated: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """Returns a row (COLUMNS) per comparison, cell (model, data, compression) and seed."""
    rows = treated[_match(treated, claim.among)]
    is_pruned = (
        (rows["requested"] > 1)
        & (rows["requested"] >= claim.least)
        & (rows["requested"] <= claim.most)
    )
    if claim.kind == "unpruned":
        return _unpruned(rows, is_pruned)
    rows = rows[is_pruned]
    if claim.kind == "retrained":
        return _retrained(rows)
    pairs = _pairs(rows, claim)
    if claim.kind == "speedup":
        pairs = _at_equal_speedup(pairs)
    elif claim.kind == "collapsed":
        pairs = pairs[_any_in_cell(pairs, _collapsed(pairs) | _collapsed(pairs, "_than"))]
    elif claim.kind == "alive":
        pairs = pairs[~_any_in_cell(pairs, _collapsed(pairs))]
    points = 100 * (pairs["top1"] - pairs["top1_than"])
    return _shaped(pairs.assign(points=points), _comparison(pairs, claim.name))


def _match(rows: pd.DataFrame, wanted: Mapping[str, Sequence[str]]) -> "pd.Series[bool]":
    matches = pd.Series(True, index=rows.index)
    for name, values in wanted.items():
        matches &= rows[name].isin(values)
    return matches


def _pairs(rows: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """Merges rows of `better` and `than` that agree in all that may not differ.

    The columns of `than` end in _than.
    """
    rows = rows.assign(rest=_rest(rows, set(claim.differ)))
    # `rest` contains the schedule. SynFlow's rounds belong to its saliency.
    same = [*_PAIR_KEYS, "rest", *(set(GROUPS) - {*claim.differ, "schedule", "grasp_absolute"})]
    same += [] if claim.kind == "speedup" else ["requested"]
    return rows[_match(rows, claim.better)].merge(
        rows[_match(rows, claim.than)], on=same, suffixes=("", "_than")
    )


def _rest(rows: pd.DataFrame, differ: set[str]) -> "pd.Series[str]":
    settings = rows.drop_duplicates("line").set_index("line")["config"]
    return rows["line"].map(
        {line: rest_of_config(config, differ) for line, config in settings.items()}
    )


def _comparison(pairs: pd.DataFrame, name: str) -> "pd.Series[str]":
    column = f"{name}_than"
    than = pairs[column] if column in pairs else pairs[name]
    if name != "label" and (pairs[name] == than).all():
        return pairs[name].astype(str)
    return pairs[name].astype(str) + " against " + than.astype(str)


def _shaped(rows: pd.DataFrame, comparison: "pd.Series[str]") -> pd.DataFrame:
    requested = [f"{requested:.4g}x" for requested in rows["requested"]]
    labels = rows["label"] + ("/" + rows["label_than"] if "label_than" in rows else "")
    cell = rows["model"] + " " + rows["data"] + " " + requested + " " + labels
    epochs_than = rows["total_epochs_than"] if "total_epochs_than" in rows else rows["total_epochs"]
    shaped = rows.assign(
        comparison=comparison, cell=cell, epochs=rows["total_epochs"], epochs_than=epochs_than
    )
    return shaped.dropna(subset="points")[COLUMNS].reset_index(drop=True)


def _retrained(rows: pd.DataFrame) -> pd.DataFrame:
    done = rows[rows["stage"] == "finetuned"]
    points = 100 * (done["top1"] - done["pruned_top1"])
    return _shaped(done.assign(points=points), done["label"])


def _unpruned(rows: pd.DataFrame, is_pruned: "pd.Series[bool]") -> pd.DataFrame:
    """Compares with the same label and seed at 1x, or with the dense model without a run at 1x."""
    key = ["model", "data", "label", "setting", "seed"]
    at_1 = rows[rows["requested"] == 1].set_index(key)[["top1", "total_epochs"]]
    joined = rows[is_pruned].join(at_1.rename(columns=lambda name: f"{name}_than"), on=key)
    reference = joined["top1_than"].fillna(joined["dense_top1"])
    points = 100 * (joined["top1"] - reference)
    return _shaped(joined.assign(points=points), joined["label"])


def _collapsed(pairs: pd.DataFrame, side: str = "") -> "pd.Series[bool]":
    return pairs[f"collapsed{side}"] | pairs[f"cut{side}"]


def _any_in_cell(pairs: pd.DataFrame, flags: "pd.Series[bool]") -> "pd.Series[bool]":
    # For all seeds of a cell: choosing single seeds would select by result.
    cell = [pairs[name] for name in ("model", "data", "requested", "label", "label_than")]
    return flags.groupby(cell).transform("any").astype(bool)


def _at_equal_speedup(pairs: pd.DataFrame) -> pd.DataFrame:
    """Keeps the results of `better` whose speed-up is between two results of `than`.

    The accuracy of `than` is interpolated linearly over the logarithm of the speed-up, within
    model, data, seed and pair of labels.
    """
    measured = ["top1", "top1_than", "speedup", "speedup_than"]
    pairs = pairs.dropna(subset=measured).reset_index(drop=True)
    numbers = pairs[["requested", "speedup", "speedup_than", "top1_than"]].to_numpy(float)
    groups = pairs.groupby([*_PAIR_KEYS, "label", "label_than", "rest"]).indices.values()
    interpolated = np.full(len(pairs), np.nan)
    for indices in groups:
        requested, speedup, speedup_than, top1_than = numbers[indices].T
        known, first = np.unique(speedup_than, return_index=True)
        _, own = np.unique(requested, return_index=True)
        inside = own[(known[0] <= speedup[own]) & (speedup[own] <= known[-1]) & (len(known) > 1)]
        interpolated[indices[inside]] = np.interp(
            np.log(speedup[inside]), np.log(known), top1_than[first]
        )
    compared = pairs.assign(top1_than=interpolated)
    return compared.dropna(subset="top1_than")


def mean_epochs(pairs: pd.DataFrame) -> dict[str, Any]:
    """Returns the mean total epochs of both sides where they differ, else an empty dict."""
    means = pairs[["epochs", "epochs_than"]].mean()
    if means.isna().any() or means["epochs"] == means["epochs_than"]:
        return {}
    return {"better": float(means["epochs"]), "than": float(means["epochs_than"])}
