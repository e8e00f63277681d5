"""Checks the values of a composed config against the declarations of its parts, without torch."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from hydra.conf import HydraConf
from omegaconf import OmegaConf

from harness.launch.config.declarations import Declared, declared_fields
from harness.launch.paths import CONF
from harness.launch.trust.targets import components
from harness.run_folder.identity import Config
from harness.system.names import check_name
from harness.vocabulary.checks import Part, matches, problem_of

EXPERIMENT = "harness.experiment.experiment.Experiment"
OPTIONS = "harness.launch.config.run_options"
RUN_OPTIONS = f"{OPTIONS}.RunOptions"
MISSING = "???"  # a sweep gives it
# What declares the keys of a launcher or sweeper of this project.
PLUGINS = {
    "Local": "harness.launch.backends.local.LocalBackend",
    "Slurm": "harness.launch.backends.slurm_options.SlurmOptions",
    "Search": "harness.launch.sweeps.optuna_search.Search",
}


def check_config(config: Config, choices: Mapping[str, object]) -> None:
    """Checks all values of which a type or a range is declared.

    choices: group -> chosen file, for the message.

    Raises:
        ValueError: a key is missing, or its value is not what its part declares.
    """
    fields = {**declared_fields(EXPERIMENT), **declared_fields(RUN_OPTIONS)}
    for found in (_of_target("_target_", config, EXPERIMENT), _of_fields("", config, fields)):
        for problem in found:
            raise ValueError(problem + _choose(problem, config, choices))
    for key in ("run_name", "sweep_name"):
        check_name(key, config[key])


def check_plugins(hydra: HydraConf) -> None:
    """Checks the values of the launcher and the sweeper, where these are this project's.

    Raises:
        ValueError: a value is not what its plugin declares.
    """
    for key, plugin in {"launcher": hydra.launcher, "sweeper": hydra.sweeper}.items():
        node: Any = OmegaConf.to_container(plugin, resolve=False)
        name = str(node.get("_target_")).removeprefix("hydra_plugins.pruning_harness.")
        known = {each: value for each, value in node.items() if "${" not in str(value)}
        fields = declared_fields(PLUGINS.get(name, ""))
        given = {each: fields[each] for each in fields.keys() & known.keys()}
        for problem in _of_fields(f"hydra.{key}.", known, given):
            raise ValueError(problem)


def _of_fields(path: str, node: Config, fields: Mapping[str, Declared]) -> Iterator[str]:
    for name, declared in fields.items():
        key = f"{path}{name}"
        if node.get(name, MISSING) != MISSING:
            yield from _of_value(key, node[name], declared)
        elif declared.required and name not in node:
            yield f"{key} is missing; give it a value, and leave out what removes it"


def _of_value(key: str, value: Any, declared: Declared) -> Iterator[str]:
    part = declared.part or ""
    if part.startswith(OPTIONS) and (value is not None or declared.required):
        yield from _of_options(key, value, declared_fields(part))
    elif not matches(value, declared.hint):
        yield f"{key} {problem_of(value, declared.hint)}"
    elif isinstance(value, dict) and "_target_" in value:
        yield from _of_target(f"{key}._target_", value, part)
        yield from _of_part(key, value)
    elif isinstance(value, list):
        for number, part in enumerate(value):
            if isinstance(part, dict) and "_target_" in part:
                yield from _of_value(f"{key}[{number}]", part, replace(declared, hint=Part))


def _of_target(key: str, node: Config, part: str) -> Iterator[str]:
    """Yields what is wrong with a target where a class of the harness, or its like, must be."""
    target, package = node.get("_target_"), part.rpartition(".base.")[0]
    if not isinstance(target, str):
        yield f"{key} must be text, got {target!r}; write the path of a class"
    elif part in components() and target != part:
        yield f"{key} must be {part}, got {target!r}"
    elif package and target in components() and not target.startswith(f"{package}."):
        yield f"{key} must be a class of {package}, or one of your own, got {target!r}"


def _of_options(key: str, value: Any, fields: Mapping[str, Declared]) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{key} must hold keys and values, got {value!r}; see conf/config.yaml"
        return
    for name in value.keys() - fields.keys():
        yield f"{key}.{name}: there is no such key; there are: {', '.join(fields)}"
    yield from _of_fields(f"{key}.", value, fields)


def _of_part(key: str, node: Config) -> Iterator[str]:
    target = node["_target_"]
    if not isinstance(node.get("_partial_", True), bool):
        yield f"{key}._partial_ must be true or false, got {node['_partial_']!r}"
    if target in components() and (fields := declared_fields(target)):
        yield from _of_fields(f"{key}.", node, fields)
        return
    for name, value in node.items():
        if isinstance(value, dict) and "_target_" in value:
            yield from _of_part(f"{key}.{name}", value)
        elif isinstance(value, float) and not math.isfinite(value):
            yield f"{key}.{name} must be a finite number, got {value}"


def _choose(problem: str, config: Config, choices: Mapping[str, object]) -> str:
    """Returns how a part is chosen, if the problem is that a key holds none."""
    key = problem.split()[0]
    groups = [group for group in choices if group.rpartition("@")[2] == key]
    if not groups or isinstance(config.get(key), dict):
        return ""
    file = CONF / groups[0].partition("@")[0] / f"{config.get(key)}.yaml"
    return f"; write {groups[0]}={config[key] if file.is_file() else 'NAME'}"
