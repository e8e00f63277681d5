"""Writes accuracy by compression as a LaTeX table (booktabs), a file per model and data set."""

import re
from pathlib import Path

import pandas as pd

from harness.report.read.survey import Section, Survey
from harness.report.significance.summary import times

_SPECIAL = re.compile(r"[\\&%$#_{}~^\[|<>]")
# LaTeX would read a [ at the start of a row as an argument of the row before.
_ESCAPED = {
    "[": "{[}",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    # In LaTeX's default font encoding, OT1, these print as a dash and Spanish marks.
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def write_latex(survey: Survey, out: Path) -> list[Path]:
    return [_write(section, out) for section in survey.sections()]


def _write(section: Section, out: Path) -> Path:
    path = out / f"accuracy-{section.slug}.tex"
    path.write_text(table(section), encoding="utf-8")
    return path


def table(section: Section) -> str:
    """Returns top-1 in %, mean and std over seeds, a row per method; the best means are bold."""
    pruned = section.pruned
    best = pruned.groupby("requested_compression_ratio")["top1_fraction_mean"].transform("max")
    cells = pruned.assign(
        cell=[_cell(row, top) for (_, row), top in zip(pruned.iterrows(), best, strict=True)]
    )
    wide = cells.pivot(index="label", columns="requested_compression_ratio", values="cell")
    wide = wide.fillna("--").sort_index(key=lambda labels: labels.str.casefold())
    seeds = ", ".join(map(str, sorted(set(pruned["seeds"]))))
    return "\n".join([*_head(section, wide, seeds), *map(_line, wide.itertuples()), *_FOOT])


_FOOT = [r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]


def _head(section: Section, wide: pd.DataFrame, seeds: str) -> list[str]:
    dense = "; ".join(
        f"{escape(row['label'])}: {_cell(row, None)}" for _, row in section.dense.iterrows()
    )
    caption = f"Top-1 accuracy in \\% on {escape(section.data)} ({escape(section.model)}), mean "
    caption += f"$\\pm$ standard deviation over seeds ($n$ = {seeds}), by requested compression. "
    return [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}{dense or 'Dense: not trained'}.}}",
        rf"\begin{{tabular}}{{l{'r' * len(wide.columns)}}}",
        r"\toprule",
        " & ".join(
            ["Method", *(times(float(str(ratio))).replace("x", r"$\times$") for ratio in wide)]
        )
        + r" \\",
        r"\midrule",
    ]


def _line(row: tuple[str, ...]) -> str:
    label, *cells = row
    return " & ".join([escape(label), *cells]) + r" \\"


def _cell(row: "pd.Series[float]", best: float | None) -> str:
    if not row["seeds"]:
        return "failed" if row["failed_seeds"] else "--"
    mean, std = 100 * row["top1_fraction_mean"], 100 * row["top1_fraction_std"]
    text = f"{mean:.2f}" if pd.isna(std) else f"{mean:.2f} $\\pm$ {std:.2f}"
    if row["failed_seeds"]:
        text += f" ({row['failed_seeds']} failed)"
    return rf"\textbf{{{text}}}" if row["top1_fraction_mean"] == best else text


def escape(text: str) -> str:
    r"""Escapes LaTeX's special characters.

    >>> print(escape("50% of a_b"))
    50\% of a\_b
    """
    return _SPECIAL.sub(lambda match: _ESCAPED.get(match[0], "\\" + match[0]), text)
