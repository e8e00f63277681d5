"""Hashes the part of a config that decides numbers, which names a run; needs no torch."""

import copy
import hashlib
import json
from typing import Any

Config = dict[str, Any]

# Keys that do not name a run. They change no number, except for the last bits that
# ranks.gradient_exchange decides with more than two ranks.
OPERATIONAL = (
    "run_name", "method", "output_dir", "sweep_name", "rerun", "device", "threads", "workers",
    "hold_data", "progress", "rehearse", "tracking",
    "ranks", "checkpoint", "sensitivity", "launch", "latency", "latency_grid",
    "latency_table_elsewhere", "export",
)  # fmt: skip
# Keys that do not count once the content of the data is known.
PATHS = ("data.root", "data.verify")
# Options added later, by path, with their neutral value. They are left out if they have it, so that
# runs made before the option existed keep their names.
ADDED: dict[str, Any] = {
    "weights_skip": [],
    "compact": "never",
    "structure.pool_over": "producers",
    "structure.normalize": "none",
    "allocation.max_share": 1.0,
    "allocation.per": "unit",
    "allocation.rule": "equal_rise",
    "structure.norms": "exact",
    "structure.round_to": None,
    "model_sha256": None,
    "data.transforms": None,
    "data.skip_damaged": False,
    "training.learning_rate.unit": "epochs",
    "retraining.learning_rate.unit": "epochs",
    "training.augmentation.fill": "zero",
    "task.metrics": [],
    "retraining.augmentation.fill": "zero",
}
DENSE = (
    "seed", "model", "model_sha256", "data", "data_sha256", "task", "training", "dtype",
    "gradient_dtype", "sync_batch_norm", "weights", "weights_skip",
)  # fmt: skip

# Seeds, and how long something lasts: two samples and three steps do not show them.
NOT_REHEARSED = (
    "seed", "dense_checkpoints", "gradual.first_step", "gradual.last_step", "gradual.interval",
)  # fmt: skip


def hashed_config_of(
    config: Config,
    weights_sha256: str | None = None,
    data_sha256: str | None = None,
    latency_table_sha256: str | None = None,
    model_sha256: str | None = None,
) -> Config:
    """Returns the config without operational keys, paths, nulls and options at neutral values.

    Weights, data and latency table count by content, not by path: equal bytes at two paths are one
    run.

    data_sha256: None if the data have not been read yet. Then their path counts.
    model_sha256: of files that decide the model's architecture, in place of their folder; or None.
    """
    kept = {key: value for key, value in copy.deepcopy(config).items() if key not in OPERATIONAL}
    for path in PATHS if data_sha256 else ():
        _drop(kept, path)
    if model_sha256:
        _drop(kept, "model.name")
    for path, neutral in ADDED.items():
        if value_at(kept, path) == neutral:
            _drop(kept, path)
    if kept.get("prune_at") != "init":
        kept.pop("rescore_trained", None)  # only methods at initialisation read it
    kept["weights"], kept["data_sha256"] = weights_sha256, data_sha256
    kept["latency_table"] = latency_table_sha256
    kept["model_sha256"] = model_sha256
    cleaned: Config = _without_nulls(kept)
    return cleaned


def run_hash(config: Config) -> str:
    """Returns SHA-256 of a hashed config, in hex; the first 12 digits name the run."""
    return _sha256(config)


def setting_hash(config: Config) -> str:
    """Returns the hash of `setting_config`; equal for one line in a figure."""
    return _sha256(setting_config(config))[:12]


def setting_config(config: Config) -> Config:
    """Returns a hashed config without seed and end point.

    The end point is left out for a schedule of one level (no `levels`, no list) or during one
    training. All levels of an iterative run depend on its end point, which therefore counts.
    """
    kept = copy.deepcopy(config)
    kept.pop("seed", None)
    for part in kept.values():
        if isinstance(part, dict):
            part.pop("seed", None)
    if isinstance(schedule := kept.get("schedule"), dict):
        if kept.get("prune_at") == "during_training":
            schedule.pop("levels", None)  # unused during training
        if "levels" not in schedule:
            schedule.pop("final", None)
    return kept


def dense_hash(config: Config, numerics: Config) -> str:
    """Returns the hash of all that decides dense training, bit for bit."""
    decides = {key: config.get(key) for key in DENSE if key in config or key not in ADDED}
    return _sha256({**decides, "numerics": numerics})[:24]


def rehearsal_hash(config: Config, values: Config, code: str, numerics: Config) -> str:
    """Returns the hash of all that decides what a rehearsal finds; seeds and lengths do not.

    config: the hashed config. values: the whole one. code: digest of the sources that decide the
    run's numbers.
    """
    kept = {key: _unseeded(part) for key, part in copy.deepcopy(config).items()}
    for path in NOT_REHEARSED:
        _drop(kept, path)
    for recipe in ("training", "retraining"):
        kept[recipe] = {**kept[recipe], "epochs": bool(kept[recipe]["epochs"])}
    kept["schedule"] = config["schedule"].get("_target_")
    further = {"latency": values["latency"], "export": values["export"]}
    return _sha256({"config": kept, **further, "code": code, "numerics": numerics})[:24]


def _unseeded(part: Any) -> Any:
    is_part = isinstance(part, dict)
    return {key: value for key, value in part.items() if key != "seed"} if is_part else part


def differences(first: Config, second: Config, prefix: str = "") -> list[str]:
    """Returns the dotted keys whose values differ."""
    keys = []
    for key in sorted(first.keys() | second.keys()):
        a, b = first.get(key), second.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            keys += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            keys.append(f"{prefix}{key}")
    return keys


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return value


def value_at(config: Config, path: str) -> Any:
    """Returns the value at a dotted key; None if there is none."""
    head, _, rest = path.partition(".")
    value = config.get(head)
    return value_at(value, rest) if rest and isinstance(value, dict) else value


def _drop(config: Config, path: str) -> None:
    head, _, rest = path.partition(".")
    if not rest:
        config.pop(head, None)
    elif isinstance(config.get(head), dict):
        _drop(config[head], rest)
