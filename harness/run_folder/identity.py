"""Who a run is: hashes of the part of its config that decides numbers; plain data, no torch."""

import copy
import hashlib
import json
from typing import Any

Config = dict[str, Any]

# Where and how a run happens. None of it names a run; none of it changes a number, but for the
# last bits that ranks.gradient_exchange decides with more than two ranks.
OPERATIONAL = (
    "run_name", "method", "output_dir", "sweep_name", "rerun", "device", "threads", "progress",
    "tracking",
    "ranks", "checkpoint", "sensitivity", "launch", "latency",
)  # fmt: skip
# Of data whose content is known.
PATHS = ("data.root", "data.verify")
# Options added later, by path, with the value that changes nothing: they are left out when they
# have it, so that runs made before the option existed keep their names.
ADDED: dict[str, Any] = {}
DENSE = (
    "seed", "model", "data", "data_sha256", "task", "training", "dtype", "gradient_dtype",
    "sync_batch_norm", "weights",
)  # fmt: skip


def hashed_config_of(
    config: Config, weights_sha256: str | None = None, data_sha256: str | None = None
) -> Config:
    """The config without operational keys, paths, nulls and options at their neutral value.

    Weights and data count by their content, not by their path: two places with equal bytes are
    one run. data_sha256: None of data that have not been read yet; then the place counts.
    """
    kept = {key: value for key, value in copy.deepcopy(config).items() if key not in OPERATIONAL}
    for path in PATHS if data_sha256 else ():
        _drop(kept, path)
    for path, neutral in ADDED.items():
        if value_at(kept, path) == neutral:
            _drop(kept, path)
    if kept.get("prune_at") != "init":
        kept.pop("rescore_trained", None)  # a leave that only methods at initialisation need
    kept["weights"], kept["data_sha256"] = weights_sha256, data_sha256
    cleaned: Config = _without_nulls(kept)
    return cleaned


def run_hash(config: Config) -> str:
    """SHA-256 of a hashed config, in hex; a run is named by the first 12 digits."""
    return _sha256(config)


def setting_hash(config: Config) -> str:
    """Without seed and end point: what the points of one line in a figure have in common.

    Only a schedule of one level (no `levels`, no list), or inside one training, has an end point
    of its own; the levels of an iterative run depend on where it ends.
    """
    kept = copy.deepcopy(config)
    kept.pop("seed", None)
    for part in kept.values():
        if isinstance(part, dict):
            part.pop("seed", None)
    if kept.get("prune_at") == "during_training":
        kept["schedule"].pop("levels", None)  # does not matter there
    if "levels" not in kept.get("schedule", {}):
        kept.get("schedule", {}).pop("final", None)
    return _sha256(kept)[:12]


def dense_hash(config: Config, numerics: Config) -> str:
    """What decides dense training, bit for bit: methods that share it start from equal weights."""
    return _sha256({**{key: config.get(key) for key in DENSE}, "numerics": numerics})[:24]


def differences(first: Config, second: Config, prefix: str = "") -> list[str]:
    """Dotted keys whose values differ."""
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
    """What lies at a dotted key; None if nothing does."""
    head, _, rest = path.partition(".")
    value = config.get(head)
    return value_at(value, rest) if rest and isinstance(value, dict) else value


def _drop(config: Config, path: str) -> None:
    head, _, rest = path.partition(".")
    if not rest:
        config.pop(head, None)
    elif isinstance(config.get(head), dict):
        _drop(config[head], rest)
