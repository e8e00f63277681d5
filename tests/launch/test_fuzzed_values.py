"""Refuses wrong values of every key of every group in one line, with status 2 and no file.

Values are drawn with a fixed seed for every key, and go the way of a run until its parts are built.
"""

import math
import random
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any

from command import TINY
from conftest import CONF
from omegaconf import OmegaConf

from harness.launch.compose import compose_config
from harness.launch.config.check import check_config, check_plugins
from harness.launch.error_messages import ExpectedError, exit_on_expected_errors, one_line
from harness.launch.execute import build, config_part
from harness.launch.variables import plain

Config = dict[str, Any]
Path = tuple[str, ...]
SEED = 17
PARTS = ("checkpoint", "latency", "ranks", "tracking")  # built beside the experiment
INSIDE = ("learning_rate", "augmentation", "mixing")  # of the recipe of training
NO_PARTS = ("method", "experiment", "sweep", "controls", "hydra")
LONG = "x" * 10_000
WRONG = (
    "abc", "", "größe\u202e", LONG, "null", "1", -1, -(10**30), 10**30, 2**63, 1.5, -0.5, math.nan,
    math.inf, -math.inf, True, None, [], [[]], [None], ["a", 1], {}, {"a": 1},
    {"_target_": "builtins.dict"}, {"_target_": "no.such.Thing"}, {"_target_": 5},
)  # fmt: skip
WRONG_TARGETS = (
    "", "abc", LONG, "os.system", "builtins.dict", "no.such.Thing", "harness.nothing.Here", None, 5,
    [], {}, "harness.system.names.NAME", "harness.data.base.Split", "torch.nn.Linear",
)  # fmt: skip


def config_with(group: str, name: str) -> Config:
    """Returns the default config with a file of a group, whether or not it fits the other parts."""
    config = deepcopy(default())
    part = OmegaConf.load(CONF / group / f"{name}.yaml")
    assert OmegaConf.is_dict(part)
    part.pop("defaults", None)
    around = {"seed": 0, "structure": {"n": 2, "m": 4}}  # which interpolations read
    value: Any = OmegaConf.to_container(OmegaConf.create({**around, group: part}), resolve=True)
    if group in INSIDE:
        config["training"] |= {group: value[group]}
    else:
        config[group] = {**(config["training"] if group == "training" else {}), **value[group]}
    return config


@cache
def default() -> Config:
    return plain(compose_config([*TINY, "schedule=geometric"]))


def line_of(config: Config) -> str | None:
    """Returns the line with which a command ends with status 2, or None if all parts are built."""
    try:
        with exit_on_expected_errors():
            check_config(config, {})
            build(config)
            for name in PARTS:
                config_part(config, name)
    except ExpectedError as error:
        assert error.code == 2
        return one_line(error.error)
    return None


def keys_of(node: Config, path: Path = ()) -> Iterator[Path]:
    for name, value in node.items():
        yield (*path, name)
        if isinstance(value, dict):
            yield from keys_of(value, (*path, name))


def changed(config: Config, path: Path, value: object) -> Config:
    first, *rest = path
    return {**config, first: changed(config[first], tuple(rest), value) if rest else value}


def places() -> list[tuple[Config, Path]]:
    """Returns (config, key), every key of the default config and of every file of a group once."""
    found = [(default(), path) for path in keys_of(default())]
    for file in sorted(CONF.glob("*/*.yaml")):
        group = file.parent.name
        if group not in NO_PARTS:
            config = config_with(group, file.stem)
            start = ("training", group) if group in INSIDE else (group,)
            found += [(config, path) for path in keys_of(config) if path[: len(start)] == start]
    return found


def test_a_wrong_value_of_every_key_is_one_line_that_names_it(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw, right, every = random.Random(SEED), [], places()
    assert len(every) > 300
    for config, path in every:
        value = draw.choice(WRONG_TARGETS if path[-1] == "_target_" else WRONG)
        what = f"{'.'.join(path)}={value!r:.100}"
        try:
            line = line_of(changed(config, path, value))
        except Exception as error:
            raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
        assert line is None or (line.isprintable() and len(line) < 1100), (what, line)
        if line is None or not (path[-1] in line or path[0] in line):
            # of parts that do not fit each other
            assert line in (None, line_of(config)), (what, line)
            right.append(what)
    assert len(right) < len(every) / 20, right
    assert list(tmp_path.rglob("*")) == []


def test_a_wrong_value_of_a_launcher_or_sweeper_is_told_by_its_key() -> None:
    draw, told = random.Random(SEED), set()
    for file in sorted(CONF.glob("hydra/*/*.yaml")):
        kind, node = file.parent.name, OmegaConf.load(file)
        for key in {*node} - {"_target_", "defaults"}:
            for value in ["abc", *draw.choices(WRONG, k=3)]:
                hydra = OmegaConf.create(
                    {"launcher": {}, "sweeper": {}, kind: {**node, key: value}}
                )
                try:
                    check_plugins(hydra)
                except ValueError as error:
                    assert str(error).startswith(f"hydra.{kind}.{key}"), (key, value)
                    told.add(f"{file.stem}.{key}")
    assert {"local.n_jobs", "slurm.nodes", "slurm.mem_gb", "slurm.setup", "search.trials"} < told
