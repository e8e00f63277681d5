"""Adds the treatment of each result: the components of its run's config, as columns."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from harness.report.read import collapse
from harness.report.read.folders import Facts, hashed_config, inside
from harness.report.read.results import LINE
from harness.report.read.survey import Survey
from harness.system.redaction import has_reference

GROUPS = [
    *("saliency", "structure", "allocation", "prune_at", "finetune", "control", "schedule"),
    "grasp_absolute",
]
# Columns of a result that differences.py uses, a third of all.
_RESULT = [
    *LINE,
    *("folder", "method", "seed", "requested", "requested_counts", "stage", "speedup"),
    "total_epochs",
    *("top1", "pruned_top1", "dense_top1", "empty_layers", "effective_density", "dead_units"),
]
# Keys of a config that do not belong to the treatment.
_IGNORED_KEYS = {"seed", "dense_checkpoints", "calibration"}
_IGNORED_INNER_KEYS = {"schedule.final", "saliency.seed"}
# Components by method name, for runs without a config.
_BY_METHOD = {
    "random": ("random", "global_ranking", "after_training"),
    "random_at_init": ("random", "global_ranking", "init"),
    "magnitude_at_init": ("magnitude", "global_ranking", "init"),
    "snip": ("weight_gradient", "global_ranking", "init"),
    "grasp": ("grasp", "global_ranking", "init"),
    "synflow": ("synflow", "global_ranking", "init"),
    "global_magnitude": ("magnitude", "global_ranking", "after_training"),
    "layerwise_magnitude": ("magnitude", "uniform", "after_training"),
    "global_gradient": ("weight_gradient", "global_ranking", "after_training"),
    "layerwise_gradient": ("weight_gradient", "uniform", "after_training"),
    "erk_magnitude": ("magnitude", "erk", "after_training"),
    "uniform_plus_magnitude": ("magnitude", "uniform_plus", "after_training"),
    "lamp": ("magnitude", "lamp", "after_training"),
}


def treated(survey: Survey) -> pd.DataFrame:
    """Returns the results of pruned models with the columns GROUPS, config (all of it) and line.

    All runs of a setting share their config except seed and schedule.final, so one config is read.
    Without identity.json, components are known by the method's name, or are "". line is a number
    per setting. collapsed and cut are those of collapse.counted.
    """
    rows = collapse.counted(survey.results.loc[survey.results["level"] > 0, _RESULT])
    firsts = rows.sort_values("folder").drop_duplicates(LINE)
    known = pd.DataFrame(
        [
            {
                **{key: row[key] for key in LINE},
                **_parts(survey.runs / row["folder"], row["method"], row["setting"]),
            }
            for row in firsts.to_dict("records")
        ],
        columns=[*LINE, *GROUPS, "config"],
    )
    return rows.merge(known.assign(line=range(len(known))), how="left", on=LINE)


def _parts(folder: Path, method: str, setting: str) -> dict[str, Any]:
    config = hashed_config(folder)
    if not config:
        saliency, allocation, prune_at = _BY_METHOD.get(method, ("", "", ""))
        by_method = {"saliency": saliency, "allocation": allocation, "prune_at": prune_at}
        defaults = {"structure": "element", "control": "none"} if saliency else {}
        return {**dict.fromkeys(GROUPS, ""), **by_method, **defaults, "config": {}}
    return {**_named(config), "config": _mark_unresolved(config, setting)}


def _named(config: Facts) -> dict[str, str]:
    groups = ("saliency", "structure", "allocation")
    return {
        **{name: _module(inside(config, name)) for name in groups},
        "prune_at": str(config.get("prune_at", "")),
        "control": str(config.get("control", "none")),
        "finetune": _finetune(inside(config, "finetune")),
        "schedule": _schedule(inside(config, "schedule")),
        "grasp_absolute": str(inside(config, "saliency").get("absolute", "")).lower(),
    }


def _mark_unresolved(value: Any, setting: str) -> Any:
    """Adds the setting to values that name environment variables, which may differ in value.

    >>> _mark_unresolved({"hidden": ["${oc.env:WIDTH}", 4]}, "ab12")
    {'hidden': ['${oc.env:WIDTH} of ab12', 4]}
    """
    if isinstance(value, dict):
        return {key: _mark_unresolved(inner, setting) for key, inner in value.items()}
    if isinstance(value, list):
        return [_mark_unresolved(inner, setting) for inner in value]
    return f"{value} of {setting}" if has_reference(value) else value


def _module(part: Facts) -> str:
    """Returns the module of a component.

    >>> _module({"_target_": "harness.finetune.keep.Keep"})
    'keep'
    """
    names = str(part.get("_target_", "")).split(".")
    return names[-2] if len(names) > 1 else ""


def _finetune(part: Facts) -> str:
    name = _module(part)
    at_start = 0 in (part.get("epoch"), part.get("step"))
    return "rewind_to_init" if name == "weight_rewind" and at_start else name


def _schedule(part: Facts) -> str:
    """Returns one_shot, rounds (several prunings without training between), or several (levels)."""
    if _module(part) != "one_shot":
        return "several"
    return "rounds" if (part.get("rounds") or 1) > 1 else "one_shot"


def rest_of_config(config: Facts, differ: set[str]) -> str:
    """Returns a config without ignored keys and without the groups `differ`, as text.

    >>> config = {"seed": 1, "prune_at": "init", "schedule": {"final": 2, "unit": "x"}}
    >>> rest_of_config(config, {"prune_at"})
    '{"schedule": {"unit": "x"}}'
    """
    dropped = _IGNORED_KEYS | differ
    if config.get("prune_at") != "during_training":
        dropped |= {"gradual"}
    kept = {
        key: {k: v for k, v in value.items() if f"{key}.{k}" not in _IGNORED_INNER_KEYS}
        if isinstance(value, dict)
        else value
        for key, value in config.items()
        if key not in dropped
    }
    return json.dumps(kept, sort_keys=True, default=str)
