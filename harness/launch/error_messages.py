"""Formats errors as one line that names the key, the value, the rule and what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches

from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from harness.launch.compose import OPTIONAL
from harness.system.atomic_files import CannotWrite
from harness.system.errors import (
    LeaseLost,
    NotFinite,
    RankLost,
    RanksDisagree,
    WorkersFailed,
    WrongEnvironment,
)
from harness.system.locks import Busy
from harness.system.names import printable
from harness.system.redaction import redact

WRONG_INPUT = (ValueError, HydraException, OmegaConfBaseException)  # exit status 2
# Rank 0 prints all other errors for every rank.
PRINTED_BY_EVERY_RANK = (RankLost, WrongEnvironment)
# Exit status 1.
FAILURES = (Busy, CannotWrite, LeaseLost, NotFinite, RankLost, RanksDisagree, WorkersFailed)


LONGEST = 1000  # characters of a line, of which a value may be a part


class RunFailed(HydraException):
    """Is the failure of a run under another sweeper, for which Hydra expects an exception."""


class ExpectedError(SystemExit):
    """Carries an expected error through Hydra, which would print other exceptions itself."""

    def __init__(self, error: Exception):
        super().__init__(exit_status(error))
        self.error = error


@contextmanager
def exit_on_expected_errors() -> Iterator[None]:
    """Turns expected errors inside into ExpectedError; other errors keep their traceback."""
    try:
        yield
    except (*WRONG_INPUT, *FAILURES) as error:
        raise ExpectedError(error) from error


def exit_status(error: Exception) -> int:
    wrong = isinstance(error, WRONG_INPUT) and not isinstance(error, RunFailed)
    return 2 if wrong else 1


def one_line(error: BaseException, config: DictConfig | None = None) -> str:
    """Returns the error as one line, without values of environment variables.

    `config` holds the composed defaults, whose keys are suggested for a wrong key.
    """
    line = redact(_one_line(error, config))
    return line if len(line) < LONGEST else f"{line[:LONGEST]} ..."


def _one_line(error: BaseException, config: DictConfig | None) -> str:
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _unknown_choice(error)
    text, cause = str(error), error.__cause__
    node = _first_group(r"full_key: (\S+)", text) or ""
    key = _first_group(r"Could not override '([^']+)'", text)
    surplus = _first_group(r"unexpected keyword argument '(\w+)'", str(cause or error))
    if surplus:
        key = f"{node}.{surplus}".removeprefix(".")
    if key and "Did you mean to override" not in text:  # a group at several places of the config
        return _unknown_key(key, config, node if surplus else "")
    if isinstance(error, HydraException) and isinstance(cause, Exception):
        return _with_key(node, _in_one_line(cause), config)
    if node and isinstance(error, MissingMandatoryValue):
        return f"{node} has no value; give {node}=..."
    if node and "full_key:" in text:  # of Hydra or OmegaConf, over several lines
        return f"{node}: {printable(text.splitlines()[0])}"
    return _in_one_line(error) or type(error).__name__


def _unknown_choice(error: MissingConfigException) -> str:
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    options = sorted(error.options or [])
    near = get_close_matches(name, options, n=3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{group}={name}: there is no such {group}; {hint}there are: {', '.join(options)}"


def _unknown_key(key: str, config: DictConfig | None, part: str) -> str:
    group = key.partition(".")[0]
    if group in OPTIONAL and (config is None or config.get(group) is None):
        return f"{key}: no {group} is chosen; add {group}=NAME, see conf/{group}/"
    keys = _dotted_keys(OmegaConf.to_container(config, resolve=False)) if config is not None else []
    if key in keys and part:
        return f"{key}: the chosen {part} has no such key; where an experiment sets it, add ~{key}"
    if key in keys:
        return f"{key}: another override removes this key, or what holds it; leave one of them out"
    last = key.rpartition(".")[2]
    inside = "" if key == group else f"{group}."
    if inside and any(each.startswith(inside) for each in keys):
        keys = [each for each in keys if each.startswith(inside) and not key.startswith(f"{each}.")]
    same = [each for each in keys if each.startswith(inside) and each.endswith(f".{last}")][:3]
    near = same or get_close_matches(key, keys, n=3)
    near = near or get_close_matches(last, keys, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else "--cfg job lists all keys"
    return f"{key}: there is no such key; {hint}"


def _with_key(node: str, message: str, config: DictConfig | None) -> str:
    """Returns the message with the key before it: "schedule.final must be ..."."""
    if not node:
        return message
    first = _first_group(r"^(\w+)", message)
    at_node = OmegaConf.select(config, node) if config is not None else None
    is_key = isinstance(at_node, DictConfig) and first in at_node
    return f"{node}.{message}" if is_key else f"{node}: {message}"


def _dotted_keys(value: object, prefix: str = "") -> list[str]:
    if not isinstance(value, dict):
        return []
    keys = []
    for key, inner in value.items():
        keys += [f"{prefix}{key}", *_dotted_keys(inner, f"{prefix}{key}.")]
    return keys


def _first_group(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match.group(1) if match else None


def _in_one_line(error: BaseException) -> str:
    text = printable(" ".join(redact(str(error)).split()))
    if isinstance(error, (*WRONG_INPUT, *FAILURES)):
        return text
    return f"{type(error).__name__}: {text}"
