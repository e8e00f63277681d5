"""Results against results: paired differences in top-1 accuracy, seed by seed, for a claim."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness.report.claims.claim import Claim
from harness.report.claims.treatments import GROUPS, rest_of_config

# Of a difference: what was compared, where, and how long both were trained.
COLUMNS = ["comparison", "cell", "seed", "points", "epochs", "epochs_than"]
_PAIR_KEYS = ["model", "data", "seed", "target_counts"]


def differences(treated: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """A row (COLUMNS) per comparison, cell (model, data, compression) and seed, in points."""
    rows = treated[_match(treated, claim.among)]
    beyond = (
        (rows["requested"] > 1)
        & (rows["requested"] >= claim.least)
        & (rows["requested"] <= claim.most)
    )
    if claim.kind == "unpruned":
        return _unpruned(rows, beyond)
    rows = rows[beyond]
    if claim.kind == "retrained":
        return _retrained(rows)
    pairs = _pairs(rows, claim)
    if claim.kind == "speedup":
        pairs = _at_equal_speedup(pairs)
    elif claim.kind == "collapsed":
        pairs = pairs[_in_a_cell(pairs, _gone(pairs) | _gone(pairs, "_than"))]
    elif claim.kind == "alive":
        pairs = pairs[~_in_a_cell(pairs, _gone(pairs))]
    points = 100 * (pairs["top1"] - pairs["top1_than"])
    return _shaped(pairs.assign(points=points), _comparison(pairs, claim.name))


def _match(rows: pd.DataFrame, wanted: Mapping[str, Sequence[str]]) -> "pd.Series[bool]":
    found = pd.Series(True, index=rows.index)
    for name, values in wanted.items():
        found &= rows[name].isin(values)
    return found


def _pairs(rows: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """`better` beside `than` (its columns end in _than), which share all that may not differ."""
    rows = rows.assign(rest=_rest(rows, set(claim.differ)))
    # Of a schedule `rest` tells enough: SynFlow's rounds are its saliency's.
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


def _unpruned(rows: pd.DataFrame, beyond: "pd.Series[bool]") -> pd.DataFrame:
    """Against the same label and seed at 1x, or against the dense network where 1x was not run."""
    key = ["model", "data", "label", "setting", "seed"]
    at_1 = rows[rows["requested"] == 1].set_index(key)[["top1", "total_epochs"]]
    found = rows[beyond].join(at_1.rename(columns=lambda name: f"{name}_than"), on=key)
    reference = found["top1_than"].fillna(found["dense_top1"])
    points = 100 * (found["top1"] - reference)
    return _shaped(found.assign(points=points), found["label"])


def _gone(pairs: pd.DataFrame, side: str = "") -> "pd.Series[bool]":
    return pairs[f"collapsed{side}"] | pairs[f"cut{side}"]


def _in_a_cell(pairs: pd.DataFrame, gone: "pd.Series[bool]") -> "pd.Series[bool]":
    # Of all its seeds: single ones would be picked by their result.
    cell = [pairs[name] for name in ("model", "data", "requested", "label", "label_than")]
    return gone.groupby(cell).transform("any").astype(bool)


def _at_equal_speedup(pairs: pd.DataFrame) -> pd.DataFrame:
    """Each result of `better` that lies between two of `than` by its speed-up.

    The accuracy of `than` is interpolated linearly over the logarithm of the speed-up, within
    model, data, seed and pair of labels.
    """
    measured = ["top1", "top1_than", "speedup", "speedup_than"]
    pairs = pairs.dropna(subset=measured).reset_index(drop=True)
    numbers = pairs[["requested", "speedup", "speedup_than", "top1_than"]].to_numpy(float)
    curves = pairs.groupby([*_PAIR_KEYS, "label", "label_than", "rest"]).indices.values()
    at = np.full(len(pairs), np.nan)
    for places in curves:
        requested, speedup, speedup_than, top1_than = numbers[places].T
        known, first = np.unique(speedup_than, return_index=True)
        _, own = np.unique(requested, return_index=True)
        inside = own[(known[0] <= speedup[own]) & (speedup[own] <= known[-1]) & (len(known) > 1)]
        at[places[inside]] = np.interp(np.log(speedup[inside]), np.log(known), top1_than[first])
    compared = pairs.assign(top1_than=at)
    return compared.dropna(subset="top1_than")


def trained_longer(pairs: pd.DataFrame) -> dict[str, Any]:
    """Mean epochs in all of both sides, where they differ; empty otherwise."""
    means = pairs[["epochs", "epochs_than"]].mean()
    if means.isna().any() or means["epochs"] == means["epochs_than"]:
        return {}
    return {"better": float(means["epochs"]), "than": float(means["epochs_than"])}
