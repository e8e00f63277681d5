import copy
from typing import Any, cast

import pytest
from conftest import cases
from omegaconf import OmegaConf

from harness.launch.compose import compose_config
from harness.run_folder.identity import (
    dense_hash,
    differences,
    hashed_config_of,
    run_hash,
    setting_hash,
)

ONE_SHOT: dict[str, Any] = {
    "seed": 0,
    "model": {"_target_": "harness.models.mlp.Mlp", "hidden": [32, 32]},
    "data": {"_target_": "harness.data.cifar10.Cifar10", "root": "data", "verify": True},
    "task": {"label_smoothing": 0.0},
    "training": {"epochs": 10, "optimizer": {"lr": 0.1}, "autocast": None},
    "retraining": {"epochs": 5, "optimizer": {"lr": 0.01}},
    "saliency": {"_target_": "harness.saliency.random.Random", "seed": 0},
    "schedule": {"final": 0.05, "unit": "density"},
    "dtype": "float32",
    "weights": None,
}
ITERATIVE: dict[str, Any] = ONE_SHOT | {
    "seed": 3,
    "schedule": {"final": 0.1, "unit": "density", "levels": 4},
}
NUMERICS = {"world_size": 1, "threads": 1, "device": "cpu x86_64", "torch": "2.6"}


def changed(config: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    new = copy.deepcopy(config)
    *parents, last = path.split(".")
    inner = new
    for key in parents:
        inner = inner[key]
    inner[last] = value
    return new


DATA = "da7a" * 16


def science_of(config: dict[str, Any], data: str = DATA) -> dict[str, Any]:
    return hashed_config_of(config, data_sha256=data)


def named(config: dict[str, Any]) -> str:
    return run_hash(science_of(config))


def lined(config: dict[str, Any]) -> str:
    return setting_hash(science_of(config))


def test_hashes_of_two_known_configs_never_change() -> None:
    # Runs on disk are named by them: a change makes every finished run look unfinished.
    assert named(ONE_SHOT) == "ad8befcf90c6331b79a9804826c2b5ea3641808ef87593fa0aa31f4bf617e94a"
    assert named(ITERATIVE) == "d84dd585b501a273de2a4013dbe970fcfc31fa474b6c986d5128cc0bbeb6c0af"
    assert lined(ONE_SHOT) == "a54fa333a905"
    assert dense_hash(science_of(ONE_SHOT), NUMERICS) == "4456c762d133f14eed7fe3e0"


# As users compose them, with all that conf/ says of the parts.
COMPOSED = {
    (): "7505b7c0d7c0",
    ("method=rigl", "schedule=one_shot", "model=lenet_5", "data=mnist5k"): "8fd1418bd3c2",
    (
        "schedule=geometric",
        "finetune=weight_rewind",
        "structure=neuron",
        "penalty=l1",
    ): "8f7ff3a26ab1",
    (
        "prune_at=during_training",
        "schedule=cubic",
        "distillation=hinton",
        "recalibration=batch_norm",
    ): "284c28cefec5",
    (
        "model=char_transformer",
        "data=topics",
        "task=language_modelling",
        "method=sparsegpt",
    ): "0526cdcde1cc",
}


@pytest.mark.parametrize("overrides", COMPOSED)
def test_names_of_composed_runs_never_change(overrides) -> None:
    config = OmegaConf.to_container(compose_config(overrides), resolve=True)
    assert isinstance(config, dict)
    assert named(cast(dict[str, Any], config))[:12] == COMPOSED[overrides]


@pytest.mark.parametrize(
    "key",
    [
        "run_name",
        "method",
        "output_dir",
        "sweep_name",
        "rerun",
        "device",
        "threads",
        "progress",
        "rehearse",
        "tracking",
    ],
)
def test_where_and_how_a_run_happens_does_not_rename_it(key) -> None:
    assert named(changed(ONE_SHOT, key, "anything")) == named(ONE_SHOT)


@cases("path, value", ("data.root", "/scratch/x"), ("data.verify", False))
def test_paths_do_not_rename_a_run(path, value) -> None:
    assert named(changed(ONE_SHOT, path, value)) == named(ONE_SHOT)


def test_the_content_of_the_data_names_a_run_and_its_dense_training() -> None:
    one, other = science_of(ONE_SHOT), science_of(ONE_SHOT, "0ther")
    assert run_hash(one) != run_hash(other) and setting_hash(one) != setting_hash(other)
    assert dense_hash(one, NUMERICS) != dense_hash(other, NUMERICS)


def test_two_places_are_two_runs_until_their_data_are_read() -> None:
    there = changed(ONE_SHOT, "data.root", "/scratch/x")
    assert run_hash(hashed_config_of(there)) != run_hash(hashed_config_of(ONE_SHOT))
    assert named(there) == named(ONE_SHOT)


def test_an_option_that_is_null_does_not_rename_a_run() -> None:
    assert named(changed(ONE_SHOT, "training.clip_norm", None)) == named(ONE_SHOT)
    assert named(changed(ONE_SHOT, "training.clip_norm", 1.0)) != named(ONE_SHOT)


def test_the_order_of_keys_does_not_rename_a_run() -> None:
    assert named(dict(reversed(ONE_SHOT.items()))) == named(ONE_SHOT)


@cases(
    "path, value",
    ("seed", 1), ("training.optimizer.lr", 0.2), ("retraining.epochs", 6),
    ("model.hidden", [32, 33]), ("schedule.final", 0.06), ("dtype", "float64"),
    ("saliency._target_", "harness.saliency.magnitude.Magnitude"),
)  # fmt: skip
def test_what_decides_numbers_renames_a_run(path, value) -> None:
    assert named(changed(ONE_SHOT, path, value)) != named(ONE_SHOT)


def test_a_weights_file_counts_by_content_and_not_by_path() -> None:
    one, two = (changed(ONE_SHOT, "weights", path) for path in ("a.pt", "b.pt"))
    assert hashed_config_of(one, "c0ffee") == hashed_config_of(two, "c0ffee")
    assert run_hash(hashed_config_of(one, "c0ffee")) != run_hash(hashed_config_of(one, "bad"))
    assert run_hash(hashed_config_of(one, "c0ffee", DATA)) != named(ONE_SHOT)


def test_a_latency_table_counts_by_content_and_not_by_path() -> None:
    one, two = (changed(ONE_SHOT, "latency_table", path) for path in ("a.json", "b.json"))
    table = [
        hashed_config_of(config, None, DATA, content)
        for config, content in ((one, "c0ffee"), (two, "c0ffee"), (one, "bad"))
    ]
    assert table[0] == table[1]
    assert run_hash(table[0]) != run_hash(table[2])
    assert dense_hash(table[0], NUMERICS) == dense_hash(table[2], NUMERICS)
    assert named(changed(ONE_SHOT, "latency_table", None)) == named(ONE_SHOT)


def test_a_part_of_the_weights_that_is_left_out_counts() -> None:
    config = changed(ONE_SHOT, "weights", "a.pt")
    bare, none, head = (
        hashed_config_of(chosen, "c0ffee")
        for chosen in (config, config | {"weights_skip": []}, config | {"weights_skip": ["fc"]})
    )
    assert bare == none and run_hash(none) != run_hash(head)
    assert dense_hash(none, NUMERICS) != dense_hash(head, NUMERICS)


def test_naming_a_run_leaves_its_config_alone() -> None:
    config = changed(ONE_SHOT, "data.root", "there")
    hashed_config = science_of(config)
    setting_hash(hashed_config)
    assert config == changed(ONE_SHOT, "data.root", "there")
    assert config["data"]["root"] == "there" and hashed_config["seed"] == 0


def test_an_option_added_later_at_its_neutral_value_does_not_rename_a_run(monkeypatch) -> None:
    monkeypatch.setattr("harness.run_folder.identity.ADDED", {"training.warm": 0, "mode": "plain"})
    neutral = changed(changed(ONE_SHOT, "training.warm", 0), "mode", "plain")
    assert named(neutral) == named(ONE_SHOT)
    assert named(changed(ONE_SHOT, "training.warm", 1)) != named(ONE_SHOT)


def test_seeds_are_points_of_one_setting() -> None:
    other = changed(changed(ONE_SHOT, "seed", 9), "saliency.seed", 9)
    assert lined(other) == lined(ONE_SHOT)


def test_end_points_of_one_shot_are_points_of_one_setting() -> None:
    assert lined(changed(ONE_SHOT, "schedule.final", 0.5)) == lined(ONE_SHOT)


def test_where_an_iterative_schedule_ends_is_another_setting() -> None:
    assert lined(changed(ITERATIVE, "schedule.final", 0.5)) != lined(ITERATIVE)
    assert lined(changed(ITERATIVE, "seed", 8)) == lined(ITERATIVE)


def test_units_and_learning_rates_are_other_settings() -> None:
    assert lined(changed(ONE_SHOT, "schedule.unit", "compression")) != lined(ONE_SHOT)
    assert lined(changed(ONE_SHOT, "retraining.optimizer.lr", 1.0)) != lined(ONE_SHOT)


@cases("path", "saliency.seed", "schedule.final", "retraining.epochs")
def test_dense_training_is_shared_by_whatever_comes_after_it(path) -> None:
    other = science_of(changed(ONE_SHOT, path, 0.77))
    assert dense_hash(other, NUMERICS) == dense_hash(science_of(ONE_SHOT), NUMERICS)


@cases("path", "seed", "model.hidden", "data.split_seed", "task.label_smoothing", "training.epochs")
def test_dense_training_is_not_shared_when_it_differs(path) -> None:
    other = science_of(changed(ONE_SHOT, path, 5))
    assert dense_hash(other, NUMERICS) != dense_hash(science_of(ONE_SHOT), NUMERICS)


@pytest.mark.parametrize("key", list(NUMERICS))
def test_dense_training_is_not_shared_between_machines_that_round_differently(key) -> None:
    hashed_config = science_of(ONE_SHOT)
    assert dense_hash(hashed_config, NUMERICS | {key: "x"}) != dense_hash(hashed_config, NUMERICS)


def test_differences_are_named_by_dotted_keys() -> None:
    other = changed(changed(ONE_SHOT, "training.optimizer.lr", 1), "extra", 2)
    assert differences(ONE_SHOT, other) == ["extra", "training.optimizer.lr"]
    assert differences(ONE_SHOT, copy.deepcopy(ONE_SHOT)) == []


def test_inside_one_training_levels_make_no_other_setting() -> None:
    inside = ITERATIVE | {"prune_at": "during_training"}
    assert lined(changed(inside, "schedule.levels", 9)) == lined(inside)
    assert lined(changed(inside, "schedule.final", 0.5)) == lined(inside)
