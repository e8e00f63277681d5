"""Everything a report shows, as tables: the records, their summary, and notes for the reader.

Light to import: processes that only draw need neither scipy nor what reads records.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Ranks:
    """
    mean: method -> mean rank, best (1) first. settings: how many the mean is over.
    friedman_p: could all methods be equal? NaN for two methods or one setting.
    critical_difference: mean ranks of two methods that differ lie at least so far apart.
    groups: methods that are not told apart, best first; only groups of two and more.
    left_out: method -> settings in which it has no result. alpha: level of all tests.
    """

    title: str
    mean: dict[str, float]
    settings: int
    friedman_p: float
    critical_difference: float
    groups: list[list[str]]
    left_out: dict[str, int]
    alpha: float = 0.05

    def table(self) -> pd.DataFrame:
        """A row per method: average_rank, and groups: the numbers of those that it belongs to."""
        numbered = list(enumerate(self.groups, start=1))
        member = {
            name: ", ".join(str(number) for number, group in numbered if name in group)
            for name in self.mean
        }
        return pd.DataFrame({"average_rank": self.mean, "groups": member}).rename_axis("label")

    def caption(self) -> str:
        """
        >>> two = Ranks("t", {"A": 1.2, "B": 1.8}, 5, 0.03, 0.88, [["A", "B"]], {"C": 2})
        >>> two.caption()
        'average rank over 5 settings, 1 is best; Friedman p = 0.03; critical difference 0.88 \
(Nemenyi, 0.05); left out, without a result in some of them: C (2)'
        """
        friedman = "" if np.isnan(self.friedman_p) else f"Friedman p = {self.friedman_p:.2g}; "
        names = ", ".join(f"{name} ({count})" for name, count in self.left_out.items())
        left_out = f"; left out, without a result in some of them: {names}" if names else ""
        return (
            f"average rank over {self.settings} settings, 1 is best; {friedman}critical difference "
            f"{self.critical_difference:.3g} (Nemenyi, {self.alpha:g}){left_out}"
        )


@dataclass(frozen=True)
class Survey:
    runs: Path
    records: pd.DataFrame
    results: pd.DataFrame  # a row per seed, the dense networks at level 0
    summary: pd.DataFrame
    notes: list[str]
    sensitivity: pd.DataFrame = field(default_factory=pd.DataFrame)
    against: str | None = None
    test: str = "t"
    paired: pd.DataFrame = field(default_factory=lambda: _none())
    overlap: pd.DataFrame = field(default_factory=lambda: _none())
    published: pd.DataFrame = field(default_factory=lambda: _none())
    ranks: list[Ranks] = field(default_factory=list)
    figures: Sequence[Path] = ()
    instead: Mapping[str, str] = field(default_factory=dict)

    def sections(self) -> Iterator["Section"]:
        """One per model and data set with results: they never share a table or figure."""
        slugs = set[str]()
        for (model, data), rows in self.summary.groupby(["model", "data"]):
            pruned, title = rows["level"] > 0, title_of(model, data)
            if pruned.any():
                yield Section(
                    str(model),
                    str(data),
                    rows[pruned],
                    rows[~pruned],
                    of_section(self.paired, model, data),
                    of_section(self.results, model, data),
                    of_section(self.overlap, model, data),
                    of_section(self.published, model, data),
                    next((each for each in self.ranks if each.title == title), None),
                    _slug(title, slugs),
                )

    def labels(self) -> list[str]:
        return sorted(set(self.summary.loc[self.summary["level"] > 0, "label"]), key=str.casefold)


@dataclass(frozen=True)
class Section:
    model: str
    data: str
    pruned: pd.DataFrame
    dense: pd.DataFrame
    paired: pd.DataFrame
    results: pd.DataFrame
    overlap: pd.DataFrame
    published: pd.DataFrame
    ranks: Ranks | None
    slug: str  # for names of files

    @property
    def title(self) -> str:
        return title_of(self.model, self.data)

    def published_labels(self) -> list[str]:
        return sorted(set(self.published["label"])) if len(self.published) else []


def _slug(title: str, taken: set[str]) -> str:
    """Of its own, also where two names differ in marks alone.

    >>> taken = set()
    >>> _slug("a b on c", taken), _slug("a_b on c", taken)
    ('a_b-c', 'a_b-c-2')
    """
    plain = "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", name)[:60] for name in title.rsplit(" on ", 1))
    numbered = (f"{plain}-{number}" for number in itertools.count(2))
    found = next(slug for slug in itertools.chain([plain], numbered) if slug not in taken)
    taken.add(found)
    return found


def title_of(model: object, data: object) -> str:
    return f"{model} on {data}"


def of_section(rows: pd.DataFrame, model: object, data: object) -> pd.DataFrame:
    return rows[(rows["model"] == model) & (rows["data"] == data)]


def _none() -> pd.DataFrame:
    return pd.DataFrame(columns=["model", "data"])
