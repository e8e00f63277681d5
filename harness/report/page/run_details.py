"""Collects how each run was made: command, versions, device, commit, and own config keys."""

import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from harness.report.figures.lines import iterate_rows
from harness.report.page.charts import number
from harness.report.read.folders import Facts, environment, flat, hashed_config, inside


def details(runs: Path, out: Path, folders: Iterable[str]) -> Facts:
    """Returns plain data for the page, from environment.json and identity.json; "" if missing.

    runs maps a folder to the command, a link from `out` to config.yaml, the index of the
    environment, and the config keys that differ between runs. environments and common are
    written once.
    """
    names = list(folders)
    configs = {name: flat(hashed_config(runs / name)) for name in names}
    common = _common(list(configs.values()))
    environments: list[Facts] = []
    runs_data = {}
    for name in names:
        made = environment(runs / name)
        runs_data[name] = {
            "command": command(made.get("command")),
            "config": _link(runs / name / "config.yaml", out),
            "environment": _number(_environment(made), environments),
            "own": {key: value for key, value in configs[name].items() if key not in common},
        }
    return {"runs": runs_data, "environments": environments, "common": common}


def command(words: Any) -> str:
    """Joins the words of a command for a shell.

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
        **flat(inside(made, "hardware")),
        "python": made.get("python"),
        "platform": made.get("platform"),
        **inside(made, "packages"),
    }
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}


def _number(environment: dict[str, str], known: list[Facts]) -> int:
    if environment not in known:
        known.append(environment)
    return known.index(environment)


def _common(configs: list[dict[str, str]]) -> dict[str, str]:
    if not configs:
        return {}
    first, *rest = configs
    return {k: v for k, v in first.items() if all(config.get(k) == v for config in rest)}


def run_rows(results: pd.DataFrame) -> list[Facts]:
    """Returns a row per result of a run, for the page's table of runs."""
    pruned = results[results["level"] > 0].sort_values(["label", "requested", "seed"])
    return [
        {
            **{name: getattr(row, name) for name in ("label", "seed", "level", "folder")},
            **{name: number(getattr(row, name)) for name in _MEASURED},
        }
        for row in iterate_rows(pruned)
    ]


_MEASURED = ("requested", "top1", "change", "compression", "speedup")
