"""Checks which parts a stored config may build: a folder of runs is data, not code.

The user's own input (the command line, --config-dir, files beside the command) needs no trust. A
config from a run folder or from a plan builds only targets of the shipped conf/, and targets that
are defined in modules that the user allows. A plan that this user has made keeps its trust: its
fingerprint lies outside all folders of runs, in $XDG_STATE_HOME/pruning-harness/plans (by default
below ~/.local/state). A folder that comes from elsewhere cannot bring a fingerprint along.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from harness.launch.trust.own_modules import check_defined_in
from harness.launch.trust.targets import called, components
from harness.launch.variables import resolved
from harness.system.atomic_files import CannotWrite, write_atomic

MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
# The only interpolation in a stored config, so that it holds no secret. A default value is not
# decoded: it comes from the config, not from this user.
_NAME = r"\s*[^\W\d]\w*\s*"
OF_ENVIRONMENT = re.compile(
    rf"\$\{{oc\.env:{_NAME}(,[^${{}}]*)?\}}|\$\{{oc\.decode:\s*\$\{{oc\.env:{_NAME}\}}\s*\}}"
)


def check_parts(config: Any, trust: str | Sequence[str] = (), where: str = "config") -> None:
    """Checks every target and interpolation of a stored config.

    config: plain values as stored, interpolations unresolved.

    Raises:
        ValueError: a `_target_` is neither a component of conf/ nor defined in a module of
            `trust`, or an interpolation could make one.
    """
    allowed = trusted_modules(trust)
    for key, value in _called(config, where):
        _check_target(key, value, allowed)
    for key, value in _leaves(config, where):
        if key.endswith("._target_"):
            _check_target(key, value, allowed)
        elif isinstance(value, str) and "${" in OF_ENVIRONMENT.sub("", value):
            raise ValueError(
                f"{key}={value!r} is an interpolation; a stored config holds none but "
                "${oc.env:NAME}, so it was changed by hand: write the value"
            )


def stored_part(
    config: DictConfig | ListConfig, key: str, trust: str | Sequence[str]
) -> DictConfig:
    """Returns a part of a stored config after its check.

    Raises:
        ValueError: as in check_parts, or an environment variable of the part is not set.
    """
    plain = OmegaConf.to_container(config, resolve=False)
    part = plain.get(key) if isinstance(plain, dict) else None
    if not isinstance(part, dict):
        raise ValueError(f"config.yaml has no {key}; it is not that of a run")
    check_parts(part, trust, key)
    resolved(part, key)  # raises if a variable is not set
    # The part alone: interpolations of the rest of the config were not checked.
    return OmegaConf.create(part)


def trusted_modules(trust: str | Sequence[str]) -> tuple[str, ...]:
    """Returns the modules of `trust`, checked.

    >>> trusted_modules("my_pkg"), trusted_modules(["a.b", "c"])
    (('my_pkg',), ('a.b', 'c'))

    Raises:
        ValueError: a text is no name of a module, or is one of the harness.
    """
    if not isinstance(trust, (str, Sequence)):
        raise ValueError(f"trust must name modules, as in ['my_pkg'], got {trust!r}")
    names = (trust,) if isinstance(trust, str) else tuple(trust)
    for name in names:
        if not isinstance(name, str) or not MODULE.fullmatch(name):
            raise ValueError(f"trust must name modules, as in my_pkg or my_pkg.nets, got {name!r}")
        if name.partition(".")[0] == "harness":
            # Some of its functions write files or start commands.
            raise ValueError(
                f"trust must name modules of your own, got {name!r}; the components of the harness "
                "need no trust, and nothing else of it is built from a folder"
            )
    return names


def record_own_plan(plan: Path, content: bytes) -> None:
    """Records that this user has made the plan; if nothing can be written, it needs --trust."""
    with suppress(CannotWrite, OSError, RuntimeError):
        file = _fingerprint(plan, content)
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(file, "")


def is_own_plan(plan: Path, content: bytes) -> bool:
    """True if this user has made the plan at this path with this content."""
    with suppress(OSError, RuntimeError):
        return _fingerprint(plan, content).is_file()
    return False


def _fingerprint(plan: Path, content: bytes) -> Path:
    path = f"{plan.resolve()}\n".encode(errors="surrogateescape")
    return _state_folder() / "plans" / hashlib.sha256(path + content).hexdigest()


def _state_folder() -> Path:
    configured = Path(os.environ.get("XDG_STATE_HOME") or "")
    # The XDG specification says that a relative path is ignored.
    home = configured if configured.is_absolute() else Path.home() / ".local" / "state"
    return home / "pruning-harness"


def _check_target(key: str, target: Any, trust: Sequence[str]) -> None:
    if isinstance(target, str) and MODULE.fullmatch(target):
        if target in components():
            return
        if any(target.startswith(f"{allowed}.") for allowed in trust):
            return check_defined_in(key, target, trust)
        module = target.partition(".")[0]
        raise ValueError(
            f"{key}={target} is no component of the harness, and a folder of runs is data, not "
            f"code; if you know its author, allow the module with --trust {module} "
            f"(harness.load: trust=[{module!r}])"
        )
    raise ValueError(f"{key} must name a component, as harness.models.mlp.MLP, got {target!r}")


def _called(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yields the keys beside `_target_` that name code, with its dotted name."""
    if isinstance(value, dict):
        if named := called(value):
            yield f"{key}.{named[0]}", named[1]
        for name, inner in value.items():
            yield from _called(inner, f"{key}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _called(inner, f"{key}[{number}]")


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            # Of any type: this value would be built.
            yield from [(f"{key}.{name}", inner)] if name == "_target_" else ()
            yield from _leaves(name, f"{key}: a key") if isinstance(name, str) else ()
            yield from _leaves(inner, f"{key}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{key}[{number}]")
    else:
        yield key, value
