"""The claims as data: what is said, by whom, how large it was, and what of a survey tests it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).with_name("claims.yaml")
KINDS = ("pairs", "retrained", "unpruned", "collapsed", "speedup", "alive")
MODES = ("all", "any")


@dataclass(frozen=True)
class Claim:
    """
    better, than, among: values of columns (treatments.GROUPS) that a result must have, to stand on
        either side, or to be looked at.
    differ: groups of the config that both sides may differ in.
    least, most: of the requested compression, both included; 1x never counts as pruned.
    """

    key: str
    claim: str
    source: str
    published: str
    fails: str
    way: str
    better: Mapping[str, list[str]]
    than: Mapping[str, list[str]]
    among: Mapping[str, list[str]]
    differ: list[str]
    name: str
    kind: str = "pairs"
    mode: str = "all"
    tolerance: float = 0.0
    least: float = 1.0
    most: float = float("inf")

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.mode not in MODES:
            raise ValueError(
                f"claim {self.key}: kind must be one of {', '.join(KINDS)}, mode one of "
                f"{', '.join(MODES)}, got {self.kind} and {self.mode}"
            )


@cache
def claims() -> tuple[Claim, ...]:
    entries = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return tuple(Claim(**{**entry, **_words(entry)}) for entry in entries)


def _words(entry: dict[str, Any]) -> dict[str, dict[str, list[str]]]:
    # YAML reads true and none as other things than the words that the columns hold.
    sides = ("better", "than", "among")
    return {
        side: {name: [_word(value) for value in values] for name, values in entry[side].items()}
        for side in sides
    }


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
