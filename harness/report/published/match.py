"""Selects the published figures of a model and a data set, in the ratios of this project."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.report.published.convert import canonical, compression, speedup
from harness.report.published.read import load
from harness.report.published.schema import SIZES, SOURCES, SPEEDS

# A part of a data set is another data set: it has fewer training images and another test set. The
# keys are the names that the classes of the parts declare.
_PARTS = {"mnist5k": ("mnist", "5,000 images of MNIST's 70,000")}
COLUMNS = [
    *(
        "label",
        "compression_ratio",
        "speedup_ratio",
        "top1_fraction_mean",
        "top1_fraction_std",
        "n",
    ),
    *("statistic", "dense_top1_fraction", "paper", "citation", "where", "source", "recipe"),
    *("structure", "retraining", "schedule", "definition", "converted", "note"),
]


@dataclass(frozen=True)
class LiteratureNames:
    """Holds the names of a model and a data set in the literature.

    The classes declare them as `published_as`; None: the class declares no such name.
    """

    model: str | None
    data: str | None


def match_figures(
    model: str,
    data: str,
    figures: pd.DataFrame | None = None,
    published_for: Mapping[str, str | None] | None = None,
    known: LiteratureNames | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Returns the figures of a model on a data set, a row each (COLUMNS), and notes on the rest.

    A ratio is NaN where the published definition does not give it. A figure without any ratio is
    left out. Names are compared without case and punctuation.

    Args:
        model: Name of the model in the own results.
        data: Name of the data set in the own results.
        figures: Figures of `load`; by default those that come with the harness.
        published_for: Maps an own data set to another, as {"mnist5k": "mnist"}; labels name it.
        known: Names in the literature; by default `model` and `data`.
    """
    figures = load() if figures is None else figures
    known = known or LiteratureNames(model, data)
    requested = (published_for or {}).get(data)
    if note := _undeclared(model, data, known, requested):
        return pd.DataFrame(columns=COLUMNS), [note]
    shown = str(requested or known.data)
    own = figures["model"].map(canonical) == canonical(str(known.model))
    matched = figures[own & (figures["data"].map(canonical) == canonical(shown))]
    notes = _other_data(figures[own], (model, data), str(known.data), requested)
    if matched.empty:
        parts = [] if requested else notes
        note = f"there are no published figures of {known.model} on {shown}"
        return pd.DataFrame(columns=COLUMNS), parts or [note]
    rows = pd.DataFrame([_row(row, f" on {shown}" if requested else "") for row in _dicts(matched)])
    notes += _left_out(rows, f"{model} on {shown}")
    drawn = rows["compression_ratio"].notna() | rows["speedup_ratio"].notna()
    return rows.loc[drawn, COLUMNS].reset_index(drop=True), notes


def _dicts(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _row(row: dict[str, Any], suffix: str) -> dict[str, Any]:
    compression_ratio, compression_source = compression(row)
    speedup_ratio, speedup_source = speedup(row)
    definitions = [
        f"{row[name]:.4g} {words[row[f'{name}_definition']][0]}"
        for name, words in (("size", SIZES), ("speed", SPEEDS))
        if row[f"{name}_definition"]
    ]
    return {
        **row,
        "label": row["label"] + suffix,
        "compression_ratio": compression_ratio,
        "speedup_ratio": speedup_ratio,
        "top1_fraction_mean": row["accuracy"] / 100,
        "top1_fraction_std": row["std"] / 100,
        "dense_top1_fraction": row["dense"] / 100,
        "citation": f"{row['authors']} {row['year']}, {row['title']} ({row['venue']})",
        "source": SOURCES[row["source"]],
        "definition": "; ".join(definitions),
        "converted": f"{compression_source}; {speedup_source}",
        "compression_source": compression_source,
        "speedup_source": speedup_source,
    }


def _undeclared(model: str, data: str, known: LiteratureNames, requested: str | None) -> str:
    """Returns the note on classes without `published_as`, or ""."""
    missing = [f"model={model}"] * (known.model is None)
    missing += [f"data={data}"] * (known.data is None and requested is None)
    if not missing:
        return ""
    return (
        f"no published figures are shown beside {model} on {data}: {' and '.join(missing)} "
        f"{'declare' if len(missing) > 1 else 'declares'} no published_as, the name in the "
        "literature"
    )


def _other_data(
    figures: pd.DataFrame, own: tuple[str, str], known: str, requested: str | None
) -> list[str]:
    """Returns the note on figures of another data set; own: names of model and data."""
    model, data = own
    whole, content = _PARTS.get(known, ("", ""))
    count = (figures["data"].map(canonical) == whole).sum() if whole else 0
    if requested:
        return [
            f"published figures on {requested} are shown beside {model} on {data}, as requested: "
            f"{data} is another data set, so compare shapes, not heights"
        ]
    if not count:
        return []
    return [
        f"{count} published figures of {model} on {whole} are not shown: {data} has {content} and "
        f"is another data set; --published-for {data}={whole} shows these figures"
    ]


def _left_out(rows: pd.DataFrame, where: str) -> list[str]:
    notes = []
    for axis, column, reason in (
        ("compression", "compression_ratio", "compression_source"),
        ("theoretical speed-up", "speedup_ratio", "speedup_source"),
    ):
        missing = rows[rows[column].isna()]
        counts = missing[reason].value_counts()
        if len(missing):
            reasons = "; ".join(f"{count} x {text}" for text, count in counts.items())
            notes.append(
                f"{len(missing)} of {len(rows)} published figures of {where} are left out against "
                f"{axis}: {reasons}"
            )
    filters = (rows["structure"] == "filters").sum()
    if filters:
        notes.append(
            f"{filters} published figures of {where} are of removed filters, and count the inputs "
            "that the next layer loses; filter masks here count the filters' own weights only"
        )
    return notes


def parse_published_for(texts: Iterable[str]) -> dict[str, str]:
    """Reads the values of --published-for.

    >>> parse_published_for(["mnist5k=mnist"])
    {'mnist5k': 'mnist'}

    Raises:
        ValueError: a text is not DATA=PUBLISHED.
    """
    pairs = [text.partition("=") for text in texts]
    for own, equals, published in pairs:
        if not (own and equals and published):
            raise ValueError(
                f"--published-for {own}{equals}{published}: write DATA=PUBLISHED, e.g. "
                "mnist5k=mnist"
            )
    return {own: published for own, _, published in pairs}
