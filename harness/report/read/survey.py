"""Holds everything that a report shows: records, summary, notes and comparisons, as tables.

It imports little: processes that only draw need neither scipy nor the readers of records.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from harness.report.paper import Paper
from harness.report.read.records import measure_of
from harness.task.shared.measures import TOP1, Measure

# Of requested_counts in a record: what a request names.
REQUESTED = {
    "parameters": "compression",
    "macs": "speed-up",
    "nanoseconds": "speed-up by latency table",
}


@dataclass(frozen=True)
class Ranks:
    """Holds the average ranks of methods over settings, and which of them differ.

    Args:
        mean: Mean rank of each method, best (1) first.
        settings: Number of settings that the mean is over.
        friedman_p: p of the hypothesis that all methods are equal; NaN for two methods or one
            setting.
        critical_difference: The least distance of two mean ranks that differ significantly.
        groups: Groups of two or more methods that do not differ significantly, best first.
        left_out: Number of settings without a result, by method.
        alpha: Level of all tests.
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
        """Returns a row per method: average_rank, and the numbers of its groups."""
        numbered = list(enumerate(self.groups, start=1))
        member = {
            name: ", ".join(str(number) for number, group in numbered if name in group)
            for name in self.mean
        }
        return pd.DataFrame({"average_rank": self.mean, "groups": member}).rename_axis("label")

    def caption(self) -> str:
        """Returns one line for terminal and page.

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
    """Holds the tables of a report.

    model, data and label are names that tell settings apart. recorded_model, recorded_data and
    recorded_label (of `results`; `label` of `records`) are those that the run recorded.
    """

    runs: Path
    records: pd.DataFrame
    results: pd.DataFrame  # a row per seed; dense models have level 0
    summary: pd.DataFrame
    notes: list[str]
    sensitivity: pd.DataFrame = field(default_factory=pd.DataFrame)
    against: str | None = None
    test: str = "t"
    paired: pd.DataFrame = field(default_factory=lambda: _empty())
    overlap: pd.DataFrame = field(default_factory=lambda: _empty())
    published: pd.DataFrame = field(default_factory=lambda: _empty())
    ranks: list[Ranks] = field(default_factory=list)
    figures: Sequence[Path] = ()
    published_for: Mapping[str, str] = field(default_factory=dict)
    paper: Paper = field(default_factory=Paper)

    @property
    def measure(self) -> Measure:
        """Returns the primary measure, which the columns top1 and top1_fraction hold."""
        return measure_of(self.records)

    def sections(self) -> Iterator["Section"]:
        """Yields a section per model and data set; sections share no table and no figure.

        A section has the methods of `paper` in their order, or else all in alphabetical order. Its
        average ranks are of all methods.
        """
        slugs, methods = set[str](), self.paper.methods or self.labels()
        for (model, data), rows in self.summary.groupby(["model", "data"]):
            dense, title = rows["level"] == 0, title_of(model, data)
            pruned = _of_methods(rows[~dense], methods)
            results = of_section(self.results, model, data)
            overlap = of_section(self.overlap, model, data)
            if len(pruned):
                yield Section(
                    str(model),
                    str(data),
                    pruned,
                    rows[dense],
                    _of_methods(of_section(self.paired, model, data), methods),
                    results[(results["level"] == 0) | results["label"].isin(methods)],
                    _of_methods(_of_methods(overlap, methods, "second"), methods, "first"),
                    of_section(self.published, model, data),
                    next((ranks for ranks in self.ranks if ranks.title == title), None),
                    _slug(title, slugs),
                    self.measure,
                )

    def labels(self) -> list[str]:
        return sorted(set(self.summary.loc[self.summary["level"] > 0, "label"]), key=str.casefold)


@dataclass(frozen=True)
class Section:
    """Holds the rows of one model and data set."""

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
    measure: Measure = TOP1

    @property
    def title(self) -> str:
        return title_of(self.model, self.data)

    @property
    def requested_ratio(self) -> str:
        """Returns what was requested: "compression", "speed-up", or "compression or speed-up".

        With a latency table: "speed-up by latency table".
        """
        counts = set(self.pruned["requested_counts"])
        return " or ".join(name for key, name in REQUESTED.items() if key in counts)

    @property
    def has_perplexity(self) -> bool:
        """True for a language model, whose loss is in nats per token."""
        return "perplexity_mean" in self.pruned and bool(
            self.pruned["perplexity_mean"].notna().any()
        )

    @property
    def measured_where(self) -> str:
        """Returns the conditions of the measured speed; "" where nothing was measured."""
        rows = [*self.pruned["latency_where"], *self.dense["latency_where"]]
        return "; ".join(sorted({where for where in rows if where}))

    @property
    def has_speed(self) -> bool:
        return bool(self.pruned["measured_speedup_ratio_mean"].notna().any())

    @property
    def seeds(self) -> str:
        """Returns the number of seeds of a result: "n = 3" or "n = 2 to 3", with fixed spaces."""
        counts = self.pruned["seeds"]
        ends = dict.fromkeys((int(counts.min()), int(counts.max())))
        return f"n\xa0=\xa0{' to '.join(map(str, ends))}"

    @property
    def caption(self) -> str:
        return f"{self.title}: mean ± std over seeds, {self.seeds}; {self.scope}"

    @property
    def scope(self) -> str:
        """Returns what was pruned, as in "pruned: weights, without fc3"."""
        return f"pruned: {'; '.join(sorted(set(self.pruned['density_of'])))}"

    def published_labels(self) -> list[str]:
        return sorted(set(self.published["label"])) if len(self.published) else []


def _slug(title: str, taken: set[str]) -> str:
    """Returns a file name that is not in `taken`, and adds it there.

    >>> taken = set()
    >>> _slug("a b on c", taken), _slug("a_b on c", taken)
    ('a_b-c', 'a_b-c-2')
    """
    plain = "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", name)[:60] for name in title.rsplit(" on ", 1))
    numbered = (f"{plain}-{number}" for number in itertools.count(2))
    slug = next(name for name in itertools.chain([plain], numbered) if name not in taken)
    taken.add(slug)
    return slug


def title_of(model: object, data: object) -> str:
    return f"{model} on {data}"


def of_section(rows: pd.DataFrame, model: object, data: object) -> pd.DataFrame:
    return rows[(rows["model"] == model) & (rows["data"] == data)]


def _of_methods(rows: pd.DataFrame, methods: Sequence[str], column: str = "label") -> pd.DataFrame:
    """Returns the rows of these methods, in the order of the methods."""
    if rows.empty:
        return rows
    shown = rows[rows[column].isin(methods)]
    return shown.sort_values(column, key=lambda labels: labels.map(methods.index), kind="stable")


def _empty() -> pd.DataFrame:
    return pd.DataFrame(columns=["model", "data"])
