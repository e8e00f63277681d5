"""Keeps environment variables in a config as references, and resolves them where they are used.

Stored configs, identities, plans and what a tracker receives hold ${oc.env:NAME}, never the value.
The hash of a run is over the values. A stored value is a text with such references, or
${oc.decode:${oc.env:NAME}} for a number, list or truth value. If a variable is not set, its default
is stored as a plain value. A `_target_` names code and is stored with values.
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
from harness.system.redaction import REFERENCE, has_reference, hide_variable

VARIABLE = re.compile(r"\$\{oc\.env:\s*([^\W\d]\w*)\s*(,)?")
UNSET = object()


def _env_resolver(name: str, *default: Any) -> Any:
    """Resolves oc.env, also in group choices and Hydra's keys; notes the name for redaction."""
    hide_variable(str(name))
    return oc.env(name, *default)


OmegaConf.register_new_resolver("oc.env", _env_resolver, replace=True)


def plain(cfg: DictConfig) -> Config:
    """Returns the config as plain values, without the `hydra` node."""
    return {str(key): _value_of(cfg, str(key)) for key in cfg if key != "hydra"}


def unresolved(cfg: DictConfig) -> Config:
    """Returns the config as plain values, with references in place of environment variables.

    Raises:
        ValueError: a variable is not set, or the config uses it in a way that cannot be stored.
    """
    with _references() as names:
        stored: Config = _with_targets(plain(cfg))
    if not (names or has_reference(stored)):
        return stored
    values, wanted = resolved(stored), plain(cfg)
    if json.dumps(values, sort_keys=True, default=str) != json.dumps(
        wanted, sort_keys=True, default=str
    ):
        keys = ", ".join(differences(values, wanted))
        raise ValueError(
            f"{keys}: an environment variable can be stored as ${{oc.env:NAME}} within a text, or "
            "as ${oc.decode:${oc.env:NAME}} for a number or a list; write one of these"
        )
    return stored


def resolved(value: Any, key: str = "") -> Any:
    """Returns plain values with the current values of environment variables.

    `key` is where the value is in the config, for error messages.

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
        hide_variable(name)
        if name not in os.environ and not default:
            raise ValueError(
                f"{key}={text}: the environment variable {name} is not set; set it to its value "
                "where the run was started"
            )
    try:
        value = OmegaConf.to_container(OmegaConf.create({"value": text}), resolve=True)
    except OmegaConfBaseException:
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"{key}={text}: the value in the environment cannot be read as one")
    return value["value"]


def _value_of(cfg: DictConfig, key: str) -> Any:
    if OmegaConf.is_missing(cfg, key):
        return "???"
    value = cfg[key]
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


@contextmanager
def _references() -> Iterator[list[str]]:
    """Lets OmegaConf resolve variables to references; yields the names of those variables."""
    names: list[str] = []

    def env(name: str, default: Any = UNSET) -> Any:
        names.append(name)
        if name not in os.environ and default is not UNSET:
            return None if default is None else str(default)
        if not REFERENCE.fullmatch(f"${{oc.env:{name}}}"):
            raise ValueError(f"{name} must be a name of letters, digits and _")
        hide_variable(name)
        return f"${{oc.env:{name}}}"

    def decode(text: str | None, _parent_: Container, _node_: Node) -> Any:
        if isinstance(text, str) and REFERENCE.fullmatch(text):
            return f"${{oc.decode:{text}}}"
        return oc.decode(text, _parent_, _node_)

    try:
        OmegaConf.register_new_resolver("oc.env", env, replace=True)
        OmegaConf.register_new_resolver("oc.decode", decode, replace=True)
        yield names
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
