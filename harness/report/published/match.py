"""Published figures for one's own model and data set, in this project's ratios."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.report.published.convert import canonical, compression, speedup
from harness.report.published.read import load
from harness.report.published.schema import SIZES, SOURCES, SPEEDS

# Parts of a data set are another data set: fewer training images, another test set. By the name
# that the part's class declares.
_PARTS = {"mnist5k": ("mnist", "5,000 images of MNIST's 70,000")}
COLUMNS = [
    *("label", "compression_ratio", "speedup_ratio", "top1_share_mean", "top1_share_std", "n"),
    *("statistic", "dense_top1_share", "paper", "citation", "where", "source", "recipe"),
    *("structure", "retraining", "schedule", "definition", "converted", "note"),
]


@dataclass(frozen=True)
class LiteratureNames:
    """What the literature calls a model and a data set, as their classes declare it
    (`published_as`); None: they declare nothing, whatever the names of their configs are."""

    model: str | None
    data: str | None


def match_figures(
    model: str,
    data: str,
    figures: pd.DataFrame | None = None,
    instead: Mapping[str, str] | None = None,
    known: LiteratureNames | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Figures of the same model on the same data set, a row each (COLUMNS), and notes on the rest,
    also where no figure applies.

    Ratios are NaN where the published definition does not give them; a figure with neither is
    left out. Names are compared without case and punctuation.

    figures: of `load`; those that come with the harness unless given.
    instead: another data set per own one, as {"mnist5k": "mnist"}; its labels then name it.
    known: by which figures are found; unless given, model and data are names of the literature.
    """
    figures = load() if figures is None else figures
    known = known or LiteratureNames(model, data)
    requested = (instead or {}).get(data)
    if why := _undeclared(model, data, known, requested):
        return pd.DataFrame(columns=COLUMNS), [why]
    shown = str(requested or known.data)
    own = figures["model"].map(canonical) == canonical(str(known.model))
    found = figures[own & (figures["data"].map(canonical) == canonical(shown))]
    notes = _other_data(figures[own], (model, data), str(known.data), requested)
    if found.empty:
        parts = [] if requested else notes
        none = f"there are no published figures of {known.model} on {shown}"
        return pd.DataFrame(columns=COLUMNS), parts or [none]
    rows = pd.DataFrame([_row(row, f" on {shown}" if requested else "") for row in _dicts(found)])
    notes += _left_out(rows, f"{model} on {shown}")
    drawn = rows["compression_ratio"].notna() | rows["speedup_ratio"].notna()
    return rows.loc[drawn, COLUMNS].reset_index(drop=True), notes


def _dicts(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _row(row: dict[str, Any], on: str) -> dict[str, Any]:
    smaller, how = compression(row)
    faster, why = speedup(row)
    definitions = [
        f"{row[name]:.4g} {words[row[f'{name}_definition']][0]}"
        for name, words in (("size", SIZES), ("speed", SPEEDS))
        if row[f"{name}_definition"]
    ]
    return {
        **row,
        "label": row["label"] + on,
        "compression_ratio": smaller,
        "speedup_ratio": faster,
        "top1_share_mean": row["accuracy"] / 100,
        "top1_share_std": row["std"] / 100,
        "dense_top1_share": row["dense"] / 100,
        "citation": f"{row['authors']} {row['year']}, {row['title']} ({row['venue']})",
        "source": SOURCES[row["source"]],
        "definition": "; ".join(definitions),
        "converted": f"{how}; {why}",
        "how": how,
        "why": why,
    }


def _undeclared(model: str, data: str, known: LiteratureNames, requested: str | None) -> str:
    """Why nothing can be found, or ""."""
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
    """own: names of model and data."""
    model, data = own
    whole, what = _PARTS.get(known, ("", ""))
    there = (figures["data"].map(canonical) == whole).sum() if whole else 0
    if requested:
        return [
            f"published figures on {requested} are shown beside {model} on {data}, as requested: "
            f"{data} is another data set, so compare shapes, not heights"
        ]
    if not there:
        return []
    return [
        f"{there} published figures of {model} on {whole} are not shown: {data} holds {what} and "
        f"is another data set; --published-for {data}={whole} shows them all the same"
    ]


def _left_out(rows: pd.DataFrame, where: str) -> list[str]:
    notes = []
    for axis, column, reason in (
        ("compression", "compression_ratio", "how"),
        ("theoretical speed-up", "speedup_ratio", "why"),
    ):
        gone = rows[rows[column].isna()]
        reasons = "; ".join(f"{n} x {why}" for why, n in gone[reason].value_counts().items())
        if len(gone):
            notes.append(
                f"{len(gone)} of {len(rows)} published figures of {where} are left out against "
                f"{axis}: {reasons}"
            )
    filters = (rows["structure"] == "filters").sum()
    if filters:
        notes.append(
            f"{filters} published figures of {where} are of removed filters and count what the "
            "next layer loses by them too; masks of filters here count the filters' own weights"
        )
    return notes


def parse_published_for(texts: Iterable[str]) -> dict[str, str]:
    """
    >>> parse_published_for(["mnist5k=mnist"])
    {'mnist5k': 'mnist'}

    Raises:
        ValueError: a text is not DATA=PUBLISHED.
    """
    pairs = [text.partition("=") for text in texts]
    for own, equals, published in pairs:
        if not (own and equals and published):
            raise ValueError(
                f"--published-for {own}{equals}{published}: must be DATA=PUBLISHED, e.g. "
                "mnist5k=mnist"
            )
    return {own: published for own, _, published in pairs}
