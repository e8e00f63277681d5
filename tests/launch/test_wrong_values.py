"""Every value is held against the type and the range that its key declares, before it is used."""

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from command import TINY
from conftest import cases

from harness.launch.compose import compose_config
from harness.launch.config.check import EXPERIMENT, RUN_OPTIONS, check_config
from harness.launch.config.declarations import declared_fields
from harness.launch.trust.targets import components
from harness.launch.variables import plain
from harness.vocabulary.checks import Part

pytest_plugins = ["refusals"]

COUNTS = ("threads", "launch.ranks_per_run", "launch.runs_per_gpu", "schedule.levels")


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return plain(compose_config([*TINY, "schedule=geometric"]))


@pytest.fixture
def problem(config) -> Callable[[str, object], str]:
    """Gives what is said of a value of a key; "" if it is right."""

    def said(key: str, value: object) -> str:
        changed = node = deepcopy(config)
        *above, last = key.split(".")
        for name in above:
            node = node[name]
        node[last] = value
        try:
            check_config(changed, {"training@retraining": "adam", "model": "mlp"})
        except ValueError as error:
            return str(error)
        return ""

    return said


@pytest.mark.parametrize("wrong", [0, -1, "two", 1.5, True, None, math.nan, 10**30])
@pytest.mark.parametrize("key", COUNTS)
def test_a_count_is_a_whole_number_of_at_least_1(key, wrong, problem) -> None:
    assert problem(key, wrong).startswith(f"{key} must be a whole number ")
    assert problem(key, 2) == ""


@cases(
    "key, wrong, says",
    ("output_dir", None, "output_dir must be text of 1 to 4096 characters, got None"),
    ("output_dir", "", "output_dir must be text of 1 to 4096 characters, got ''; write a folder"),
    ("launch.ranks_per_run", 10**5, "launch.ranks_per_run must be a whole number in [1, 1024]"),
    ("data.train", 10**9, "data.train must be a whole number in [2, 100000000], got 1000000000; a"),
    ("model.hidden", [10**9], "model.hidden must be a list of whole numbers in [1, 1000000], got"),
    ("latency.batch_sizes", [10**9], "latency.batch_sizes must be a list of whole numbers in [1, "),
    ("latency.runtimes", ["jit"], "latency.runtimes must be a list of one of eager, compile, onnx"),
    ("weights", 5, "weights must be text or null, got 5"),
    ("threads", 100000, "threads must be a whole number in [1, 1024], got 100000"),
    ("schedule.levels", 10**9, "schedule.levels must be a whole number in [1, 10000], got"),
    ("schedule.rounds", 10**9, "schedule.rounds must be a whole number in [1, 10000] or null, got"),
    ("training.epochs", 10**23, "training.epochs must be a whole number in [0, 1000000], got"),
    ("retraining.epochs", 10**23, "retraining.epochs must be a whole number in [0, 1000000], got"),
    ("dense_checkpoints", ["a"], "dense_checkpoints must be a list of whole numbers >= 0, got"),
    ("exclude", None, "exclude must be a list of text, got None"),
    ("exclude", "fc1", "exclude must be a list of text, got 'fc1'; write it as a list: [fc1]"),
    ("launch", None, "launch must hold keys and values, got None; see conf/config.yaml"),
    ("launch.retries", -1, "launch.retries must be a whole number in [0, 1000], got -1"),
    ("launch.retries", 1.0, "launch.retries must be a whole number in [0, 1000], got 1.0"),
    ("launch.share_stages", "maybe", "launch.share_stages must be true or false, got 'maybe'"),
    ("launch.action", "al", "launch.action must be one of run, plan, retry_failed, got 'al'"),
    ("launch.devices", 0, "launch.devices must be a list of text or a whole number or null, got 0"),
    ("launch.only", "foo", "launch.only: there is no such key; there are: ranks_per_run, action,"),
    ("rerun", "maybe", "rerun must be one of never, changed, always, got 'maybe'"),
    ("progress", "plan", "must be one of auto, bar, plain, none, got 'plan'; did you mean plain?"),
    ("sensitivity.grid", [0.5, 1.5], "sensitivity.grid must be a list of numbers in (0, 1], got"),
    ("latency", None, "latency must be a mapping with _target_, got None"),
    ("latency._target_", "builtins.dict", "latency._target_ must be harness.metrics.latency."),
    ("ranks._target_", "builtins.dict", "ranks._target_ must be harness.distributed.options."),
    ("checkpoint._target_", "builtins.dict", "checkpoint._target_ must be harness.run_folder."),
    ("retraining", "sgd", "retraining must be a mapping with _target_, got 'sgd'; write "
     "training@retraining=sgd"),
    ("model", None, "model must be a mapping with _target_, got None; write model=NAME"),
    ("model.hidden", ["a"], "model.hidden must be a list of whole numbers"),
    ("training.optimizer.lr", math.nan, "training.optimizer.lr must be a finite number, got nan"),
)  # fmt: skip
def test_what_is_wrong_with_a_value_is_told_by_its_key(key, wrong, says, problem) -> None:
    assert says in problem(key, wrong)


def test_a_limit_may_be_infinite_where_that_means_none() -> None:
    limited = plain(compose_config([*TINY, "saliency=obs", "allocation=uniform"]))
    for limit in (8, math.inf):
        limited["saliency"]["memory_limit_gb"] = limit
        check_config(limited, {})


@pytest.mark.parametrize("key", ["seed", "model", "training", "launch", "output_dir"])
def test_a_key_that_is_left_out_is_missing(key, config) -> None:
    with pytest.raises(ValueError, match=rf"^{key} is missing; give it a value"):
        check_config({name: value for name, value in config.items() if name != key}, {})


@pytest.mark.parametrize("target", sorted([*components(), RUN_OPTIONS]))
def test_every_part_declares_types_that_a_value_can_be_held_against(target) -> None:
    for name, field in declared_fields(target).items():
        assert field.hint is not Part or field.part or target == EXPERIMENT or name == "optimizer"
