"""What was done to each result: the parts of its run's config, as columns beside the results."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from harness.report.read import collapse
from harness.report.read.folders import Facts, hashed_config, inside
from harness.report.read.results import LINE
from harness.report.read.survey import Survey
from harness.system.redaction import refers

GROUPS = [
    *("saliency", "structure", "allocation", "prune_at", "finetune", "control", "schedule"),
    "grasp_absolute",
]
# What the differences need of a result: a record has three times as many.
_RESULT = [
    *LINE,
    *("folder", "method", "seed", "requested", "target_counts", "stage", "speedup", "total_epochs"),
    *("top1", "pruned_top1", "dense_top1", "empty_layers", "effective_density", "dead_units"),
]
# Keys of a config that say who or how far, not what was done.
_IGNORED_KEYS = {"seed", "dense_checkpoints", "calibration"}
_IGNORED_INNER_KEYS = {"schedule.final", "saliency.seed"}
# Of a run without its config the method's name alone tells something.
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
    """Results of pruned networks with a column for each of GROUPS, config (all of it) and line.

    All runs of a setting share their config but for seed and end point, so one of them is read;
    a setting without it (identity.json) is known by its method's name, or not at all ("").
    Results of a setting have the same line, a number. collapsed and cut: as in collapse.counted.
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
        found = {"saliency": saliency, "allocation": allocation, "prune_at": prune_at}
        by_name = {"structure": "element", "control": "none"} if saliency else {}
        return {**dict.fromkeys(GROUPS, ""), **found, **by_name, "config": {}}
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
    """What stands for a variable of the environment is not known to be equal in two settings.

    >>> _mark_unresolved({"hidden": ["${oc.env:WIDTH}", 4]}, "ab12")
    {'hidden': ['${oc.env:WIDTH} of ab12', 4]}
    """
    if isinstance(value, dict):
        return {key: _mark_unresolved(inner, setting) for key, inner in value.items()}
    if isinstance(value, list):
        return [_mark_unresolved(inner, setting) for inner in value]
    return f"{value} of {setting}" if refers(value) else value


def _module(part: Facts) -> str:
    """
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
    """one_shot, rounds (several prunings, no training between), or several (levels)."""
    if _module(part) != "one_shot":
        return "several"
    return "rounds" if (part.get("rounds") or 1) > 1 else "one_shot"


def rest_of_config(config: Facts, differ: set[str]) -> str:
    """A config without what lies aside and without the groups `differ`, to compare by.

    >>> config = {"seed": 1, "prune_at": "init", "schedule": {"final": 2, "unit": "x"}}
    >>> rest_of_config(config, {"prune_at"})
    '{"schedule": {"unit": "x"}}'
    """
    gone = (
        _IGNORED_KEYS
        | differ
        | ({"gradual"} if config.get("prune_at") != "during_training" else set())
    )
    kept = {
        key: {k: v for k, v in value.items() if f"{key}.{k}" not in _IGNORED_INNER_KEYS}
        if isinstance(value, dict)
        else value
        for key, value in config.items()
        if key not in gone
    }
    return json.dumps(kept, sort_keys=True, default=str)
