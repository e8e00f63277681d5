"""Names the targets (`_target_`) that a config may build; docs/design/targets.md says why."""

import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf

from harness.launch.paths import CONF

TARGET = re.compile(r"^\s*_target_:\s*(harness\.[\w.]+)\s*(?:#.*)?$", re.MULTILINE)
OPTIMIZERS = (
    "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "LBFGS", "NAdam", "RAdam", "RMSprop",
    "Rprop", "SGD",
)  # fmt: skip
# Their functions execute, read or delete whatever their arguments name.
REFUSED = frozenset({*sys.stdlib_module_names, "hydra", "omegaconf"})


# Components of which a key names code that they call, as pkg.module:factory.
CALLS = {
    "harness.data.python.Python": "target",
    "harness.models.python.Python": "target",
}


def called(node: Mapping[Any, Any]) -> tuple[str, str] | None:
    """Returns the key of a part that names code beside `_target_`, and its value with dots.

    >>> called({"_target_": "harness.models.python.Python", "target": "nets:small"})
    ('target', 'nets.small')
    """
    key = CALLS.get(str(node.get("_target_")), "")
    return (key, _dotted(node[key])) if key in node else None


def _dotted(target: Any) -> str:
    return str(target).replace(":", ".")


@cache
def components() -> frozenset[str]:
    """Returns the targets of the shipped conf/ and torch's optimizers.

    The rest of the harness is left out: some of its functions write files or start commands.
    """
    ours = {target for file in CONF.rglob("*.yaml") for target in TARGET.findall(file.read_text())}
    return frozenset(ours | {f"torch.optim.{name}" for name in OPTIMIZERS})


def allowed(config: DictConfig) -> list[str]:
    """Returns the targets of a config that its user has written, each once.

    >>> allowed(OmegaConf.create({"model": {"_target_": "my_pkg.Net", "act": {"_target_": "A.B"}}}))
    ['my_pkg.Net', 'A.B']
    >>> allowed(OmegaConf.create({"model": {"_target_": "os.system"}}))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: model._target_=os.system is of os, whose functions no config may call; ...

    A class or function of any other installed or own module is allowed: the author of the config
    could import that module too. Configs from a run folder are checked more strictly before
    (harness/launch/trust/stored_parts.py).

    Raises:
        ValueError: a target is of the standard library, of Hydra or OmegaConf, or of the harness
            and no component.
    """
    named = dict(_targets(OmegaConf.to_container(config, resolve=False), ""))
    for key, text in named.items():
        target = named[key] = _dotted(OmegaConf.select(config, key)) if "${" in text else text
        module = target.partition(".")[0]
        if module in REFUSED:
            raise ValueError(
                f"{key}={target} is of {module}, whose functions no config may call; name a "
                "function of your own that calls it"
            )
        if module == "harness" and target not in components():
            raise ValueError(
                f"{key}={target} is no component of the harness; name one of conf/, or a class or "
                "function of your own"
            )
    return list(dict.fromkeys(named.values()))


def _targets(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        if named := called(value):
            yield f"{key}.{named[0]}".removeprefix("."), named[1]
        for name, inner in value.items():
            path = f"{key}.{name}".removeprefix(".")
            if name == "_target_" and isinstance(inner, str):
                yield path, inner
            else:
                yield from _targets(inner, path)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _targets(inner, f"{key}[{number}]")
