"""What a user got wrong, as one line that names the key, the value, the rule and the way out."""

import re
from difflib import get_close_matches

from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

USER_ERRORS = (ValueError, HydraException, OmegaConfBaseException)


def one_line(error: BaseException, config: DictConfig | None = None) -> str:
    """The error as one line. `config`: the composed defaults, to name keys like a wrong one."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _unknown_choice(error)
    key = re.search(r"Could not override '([^']+)'", str(error))
    if key and config is not None:
        return _unknown_key(key.group(1), config)
    built = re.search(r"full_key: (\S+)", str(error))
    cause = error.__cause__
    if isinstance(error, HydraException) and cause is not None:
        where = f"{built.group(1)}: " if built else ""
        return where + _flat(cause)
    return _flat(error) or type(error).__name__


def _unknown_choice(error: MissingConfigException) -> str:
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    options = sorted(error.options or [])
    near = get_close_matches(name, options, n=3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{group}={name}: there is no such {group}; {hint}there are: {', '.join(options)}"


def _unknown_key(key: str, config: DictConfig) -> str:
    keys = _dotted(OmegaConf.to_container(config, resolve=False))
    near = get_close_matches(key, keys, n=3) or get_close_matches(
        key.rpartition(".")[2], keys, n=3, cutoff=0.4
    )
    hint = f"did you mean {' or '.join(near)}?" if near else "keys are listed by --cfg job"
    return f"{key}: there is no such key; {hint} (--help explains all keys)"


def _dotted(value: object, prefix: str = "") -> list[str]:
    if not isinstance(value, dict):
        return []
    found = []
    for key, inner in value.items():
        found += [f"{prefix}{key}", *_dotted(inner, f"{prefix}{key}.")]
    return found


def _flat(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return (
        text
        if isinstance(error, ValueError | OmegaConfBaseException)
        else (f"{type(error).__name__}: {text}")
    )
