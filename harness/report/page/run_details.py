"""How each run was made: its command, versions, device, commit, and what sets its config apart."""

import json
import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from harness.report.figures.lines import iterate_rows
from harness.report.page.charts import number
from harness.report.read.folders import Facts, environment, hashed_config, inside


def details(runs: Path, out: Path, folders: Iterable[str]) -> Facts:
    """Plain data for the page, from environment.json and identity.json; what is missing is "".

    runs: by folder, the command, a link from `out` to config.yaml, the number of its environment,
    and the config's keys that are not the same in all of them. environments, common: written once.
    """
    names = list(folders)
    configs = {name: _flat(hashed_config(runs / name)) for name in names}
    common = _common(list(configs.values()))
    environments: list[Facts] = []
    found = {}
    for name in names:
        made = environment(runs / name)
        found[name] = {
            "command": command(made.get("command")),
            "config": _link(runs / name / "config.yaml", out),
            "environment": _number(_environment(made), environments),
            "own": {key: value for key, value in configs[name].items() if key not in common},
        }
    return {"runs": found, "environments": environments, "common": common}


def command(words: Any) -> str:
    """
    >>> command(["pruning-harness", "run_name=a b"])
    "pruning-harness 'run_name=a b'"
    """
    return shlex.join(map(str, words)) if isinstance(words, list) else ""


def _link(file: Path, out: Path) -> str:
    return Path(os.path.relpath(file, out)).as_posix() if file.exists() else ""


def _environment(made: Facts) -> dict[str, str]:
    key = inside(made, "numerics_key")
    facts = {
        "commit": made.get("commit"),
        "device": key.get("device"),
        "ranks": key.get("world_size"),
        "threads": key.get("threads"),
        **_flat(inside(made, "hardware")),
        "python": made.get("python"),
        "platform": made.get("platform"),
        **inside(made, "packages"),
    }
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}


def _number(environment: dict[str, str], known: list[Facts]) -> int:
    if environment not in known:
        known.append(environment)
    return known.index(environment)


def _flat(value: Any, path: str = "") -> dict[str, str]:
    """
    >>> _flat({"training": {"epochs": 12, "betas": [0.9, 0.99]}})
    {'training.epochs': '12', 'training.betas': '[0.9, 0.99]'}
    """
    if not isinstance(value, dict):
        return {path: value if isinstance(value, str) else json.dumps(value)}
    inner = (_flat(of, f"{path}.{key}" if path else str(key)) for key, of in value.items())
    return {key: text for part in inner for key, text in part.items()}


def _common(configs: list[dict[str, str]]) -> dict[str, str]:
    if not configs:
        return {}
    first, *others = configs
    return {k: v for k, v in first.items() if all(other.get(k) == v for other in others)}


def run_rows(results: pd.DataFrame) -> list[Facts]:
    """A row per result of a run, for the page's table of runs."""
    pruned = results[results["level"] > 0].sort_values(["label", "requested", "seed"])
    return [
        {
            **{name: getattr(row, name) for name in ("label", "seed", "level", "folder")},
            **{name: number(getattr(row, name)) for name in _MEASURED},
        }
        for row in iterate_rows(pruned)
    ]


_MEASURED = ("requested", "top1", "change", "compression", "speedup")
