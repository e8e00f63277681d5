"""Reads files of conf/ with their comments: values, and what is written beside each."""

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from harness.launch.config.declarations import ROOT

CONF = ROOT / "conf"
KEY = re.compile(r"^( *)([\w./@]+):(?: |$)")
BESIDE = re.compile(r"\s#\s(.*)$")
# In a comment: what a value may be, where no check says it in words.
RANGE = re.compile(r"in [\[(]-?[\d.]+, [\w.]+[\])]|(?<!\S)(?:>=|>|at least|above) ?\d+")


@dataclass(frozen=True)
class Config:
    """Holds one file of conf/.

    head: the comment at its top. comments: what stands above or beside a key, by dotted key.
    """

    content: dict[str, Any]
    head: str
    comments: dict[str, str] = field(default_factory=dict)

    @property
    def target(self) -> str:
        return str(self.content.get("_target_", ""))


@cache
def read(file: Path) -> Config:
    text = file.read_text()
    head, comments = _commented(text.splitlines())
    return Config(yaml.safe_load(text) or {}, head, comments)


def _commented(lines: list[str]) -> tuple[str, dict[str, str]]:
    """Returns the comment at the top and the comments of keys."""
    comments: dict[str, str] = {}
    head: list[str] = []
    above: list[str] = []
    path: list[tuple[int, str]] = []
    section = False
    for number, line in enumerate(lines):
        if line.lstrip().startswith("#"):
            if path and not lines[number - 1]:
                section, above = True, []  # of the keys that follow, not of the next one
            if not line.startswith("# @package"):
                above.append(line.strip().removeprefix("#").strip())
        elif key := KEY.match(line):
            if not path:
                head, above = above, []
            indent = len(key.group(1))
            path = [(i, name) for i, name in path if i < indent] + [(indent, key.group(2))]
            beside = BESIDE.search(line)
            words = [*([] if section else above), *([beside.group(1)] if beside else [])]
            comments[".".join(name for _, name in path)] = " ".join(words)
            section, above = False, []
        else:
            section, above = False, []
    return " ".join(head or ([] if path else above)), comments


def keys_of(content: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Returns dotted key -> value, of a config without its defaults list and targets.

    >>> keys_of({"_target_": "a.B", "lr": 0.1, "optimizer": {"_target_": "x", "betas": [1, 2]}})
    {'lr': 0.1, 'optimizer.betas': [1, 2]}
    """
    keys: dict[str, Any] = {}
    for name, value in content.items():
        if name in ("_target_", "_partial_", "defaults"):
            continue
        if isinstance(value, dict) and value:
            keys |= keys_of(value, f"{before}{name}.")
        else:
            keys[before + name] = value
    return keys


def shown(value: object) -> str:
    """Returns a value as it is written on the command line.

    >>> shown(None), shown(True), shown([1, 2]), shown("a"), shown({})
    ('null', 'true', '[1,2]', 'a', '{}')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(shown, value))}]"
    return str(value)


def kind_of(value: object) -> str:
    """Returns what a value is, for keys of classes that are not ours."""
    kinds = {bool: "true or false", int: "int", float: "number", str: "text", list: "list"}
    return kinds.get(type(value), "")


def rule_in(comment: str) -> str:
    """Returns the values that a comment allows: its range, or what it lists with bars.

    >>> rule_in("kept fraction, in (0, 1]"), rule_in("auto | cpu | cuda"), rule_in("samples")
    ('in (0, 1]', 'auto / cpu / cuda', '')
    >>> rule_in("of finished runs: never | always (all)"), rule_in("init: first | trained: last")
    ('never / always', 'init / trained')
    >>> rule_in("density: kept fraction, in (0, 1] | compression: before / after, >= 1")
    'density / compression'
    """
    first, *others = comment.split(" | ")
    labelled = any(re.match(r"\w+:", part) for part in others)
    if not labelled and (found := RANGE.search(comment)):
        return found.group()
    parts = [first if labelled else first.rpartition(": ")[2], *others]
    choices = [part.split()[0].rstrip(":,") for part in parts if part.split()]
    one_word = all(re.fullmatch(r"[\w.]+", word) for word in choices)
    return " / ".join(choices) if len(choices) > 1 and one_word else ""
