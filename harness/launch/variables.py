"""Environment variables in a config: kept as they are written, read where their values are used.

What is stored of a run (config, identity, plan, what goes to a tracker) holds ${oc.env:NAME} and
never the value; the hash of a run is over the values. A stored value is a text with such references
in it, or ${oc.decode:${oc.env:NAME}} for a number, list or truth value. A default counts where the
variable is not set: then it is the config's own word and is stored as it is. A `_target_` names
code, and is stored as it was read.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import Container, DictConfig, Node, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

from harness.run_folder.identity import Config, differences
from harness.system.redaction import REFERENCE, note, refers

VARIABLE = re.compile(r"\$\{oc\.env:\s*([^\W\d]\w*)\s*(,)?")
UNSET = object()


def _env_resolver(name: str, *default: Any) -> Any:
    """oc.env, wherever it is read: also for what is chosen of a group, and in Hydra's own keys."""
    note(str(name))
    return oc.env(name, *default)


OmegaConf.register_new_resolver("oc.env", _env_resolver, replace=True)


def plain(cfg: DictConfig) -> Config:
    """Values, without the `hydra` node."""
    return {str(key): _value_of(cfg, str(key)) for key in cfg if key != "hydra"}


def unresolved(cfg: DictConfig) -> Config:
    """The same with references to environment variables in the place of their values.

    Raises:
        ValueError: a variable is not set, or its value is used in another way than a stored config
            can say.
    """
    with _references() as met:
        found: Config = _with_targets(plain(cfg))
    if not (met or refers(found)):
        return found
    values, wanted = resolved(found), plain(cfg)
    if json.dumps(values, sort_keys=True, default=str) != json.dumps(
        wanted, sort_keys=True, default=str
    ):
        keys = ", ".join(differences(values, wanted))
        raise ValueError(
            f"{keys}: the environment may be read as ${{oc.env:NAME}} within a text or as "
            "${oc.decode:${oc.env:NAME}} for a number or a list, for so it is stored; write one of "
            "the two"
        )
    return found


def resolved(value: Any, key: str = "") -> Any:
    """Plain values with what the environment says now; key: where they lie, for errors.

    Raises:
        ValueError: a variable is not set, or its value cannot be read.
    """
    if isinstance(value, dict):
        return {name: resolved(inner, f"{key}.{name}".strip(".")) for name, inner in value.items()}
    if isinstance(value, list):
        return [resolved(inner, f"{key}[{number}]") for number, inner in enumerate(value)]
    if isinstance(value, str) and VARIABLE.search(value):
        return _read(key, value)
    return value


def _read(key: str, text: str) -> Any:
    for name, default in VARIABLE.findall(text):
        note(name)
        if name not in os.environ and not default:
            raise ValueError(
                f"{key}={text}: the environment variable {name} is not set here; set it to what it "
                "was where the run was begun"
            )
    try:
        found = OmegaConf.to_container(OmegaConf.create({"value": text}), resolve=True)
    except OmegaConfBaseException:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{key}={text}: the value in the environment cannot be read as one")
    return found["value"]


def _value_of(cfg: DictConfig, key: str) -> Any:
    if OmegaConf.is_missing(cfg, key):
        return "???"
    value = cfg[key]
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


@contextmanager
def _references() -> Iterator[list[str]]:
    """OmegaConf reads references for values; yields the names of the variables that it meets."""
    met: list[str] = []

    def env(name: str, default: Any = UNSET) -> Any:
        met.append(name)
        if name not in os.environ and default is not UNSET:
            return None if default is None else str(default)
        if not REFERENCE.fullmatch(f"${{oc.env:{name}}}"):
            raise ValueError(f"{name} must be a name of letters, digits and _")
        note(name)
        return f"${{oc.env:{name}}}"

    def decode(text: str | None, _parent_: Container, _node_: Node) -> Any:
        if isinstance(text, str) and REFERENCE.fullmatch(text):
            return f"${{oc.decode:{text}}}"
        return oc.decode(text, _parent_, _node_)

    try:
        OmegaConf.register_new_resolver("oc.env", env, replace=True)
        OmegaConf.register_new_resolver("oc.decode", decode, replace=True)
        yield met
    finally:
        OmegaConf.register_new_resolver("oc.env", _env_resolver, replace=True)
        OmegaConf.register_new_resolver("oc.decode", oc.decode, replace=True)


def _with_targets(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_targets(inner) for inner in value]
    if isinstance(value, dict):
        return {
            key: resolved(inner, key) if key == "_target_" else _with_targets(inner)
            for key, inner in value.items()
        }
    return value
