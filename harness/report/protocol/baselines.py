"""Finds the baselines that every survey needs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness.report.read.folders import hashed_config


@dataclass(frozen=True)
class Baseline:
    """Describes a baseline.

    names: files of conf/method/. saliency, allocation: ends of the class names that identify a run
    with another name; "" is any allocation.
    """

    names: tuple[str, ...]
    saliency: str
    allocation: str = ""


BASELINES = {
    "random": Baseline(("random", "random_at_init", "random_rows"), ".Random"),
    "global magnitude": Baseline(
        ("global_magnitude", "magnitude_at_init"), ".Magnitude", ".GlobalRanking"
    ),
    "layerwise magnitude": Baseline(
        ("layerwise_magnitude", "l1_rows", "l1_filters"), ".Magnitude", ".Uniform"
    ),
}


def labels_of(kind: str, results: pd.DataFrame, runs: Path) -> list[str]:
    """Returns the labels of the results that are this baseline, by method name or by components.

    A matched control (control=random) is no baseline: it has the layer densities of another method.
    """
    firsts = results.drop_duplicates("label")
    return [
        str(row["label"])
        for _, row in firsts.iterrows()
        if _is(BASELINES[kind], str(row["method"]), hashed_config(runs / str(row["folder"])))
    ]


def _is(baseline: Baseline, method: str, parts: dict[str, Any]) -> bool:
    if parts.get("control", "none") != "none":
        return False
    # The rest of a name is the retraining: "random-lr_rewind".
    if method.split("-")[0] in baseline.names:
        return True
    saliency, allocation = _class(parts, "saliency"), _class(parts, "allocation")
    return saliency.endswith(baseline.saliency) and allocation.endswith(baseline.allocation)


def _class(parts: dict[str, Any], part: str) -> str:
    config = parts.get(part)
    return str(config.get("_target_", "")) if isinstance(config, dict) else ""
