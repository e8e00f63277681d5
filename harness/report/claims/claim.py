"""Loads the claims: text, source, published effect, and the results that test a claim."""

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
    """Holds a claim, and selects the results that test it.

    Args:
        key: Unique name.
        claim: The claim as a sentence.
        source: The papers that make it.
        published: The published effect.
        fails: Where the claim is known to fail.
        way: The command that tests it.
        better: Values of columns (treatments.GROUPS) of the results on the better side.
        than: The same for the results on the other side.
        among: The same for all results.
        differ: Groups of the config in which both sides may differ.
        name: The column that names a comparison.
        kind: One of KINDS, see claims.yaml.
        mode: "all" comparisons must hold, or "any".
        tolerance: A loss up to this many points does not count.
        least: The least requested compression.
        most: The greatest requested compression; 1x never counts as pruned.
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
    # YAML reads true as a bool, where the columns have words.
    sides = ("better", "than", "among")
    return {
        side: {name: [_word(value) for value in values] for name, values in entry[side].items()}
        for side in sides
    }


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
