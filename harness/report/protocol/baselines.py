"""Which methods are the baselines that every survey needs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness.report.read.folders import hashed_config


@dataclass(frozen=True)
class Baseline:
    """names: of conf/method/. saliency, allocation: ends of the classes of a run without such a
    name; an allocation of "" is any.
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
    """Labels of the results that are this baseline, by their records' method or their parts.

    Not a matched control (control=random): it has the layer densities of another method.
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
    # What follows the first part is how it is retrained: "random-lr_rewind".
    if method.split("-")[0] in baseline.names:
        return True
    saliency, allocation = _class(parts, "saliency"), _class(parts, "allocation")
    return saliency.endswith(baseline.saliency) and allocation.endswith(baseline.allocation)


def _class(parts: dict[str, Any], part: str) -> str:
    found = parts.get(part)
    return str(found.get("_target_", "")) if isinstance(found, dict) else ""
