"""Writes published figures of an own paper."""

from pathlib import Path

import pandas as pd

from harness.report.published import load

SAME = """\
# paper: me2026
# authors: Me, You
# year: 2026
# title: Ours, of last year
# venue: unpublished
# source: own
# where: notebook
# model: lenet_300_100
# data: mnist
# structure: unstructured
# retraining: fine-tune
# schedule: one-shot
# size_definition: density_prunable
# statistic: mean
# recipe: Adam: 20 epochs
"""


def write(folder: Path, rows: str, same: str = SAME) -> Path:
    path = folder / "mine.csv"
    path.write_text(same + rows, encoding="utf-8")
    return path


def mine(folder: Path, rows: str, same: str = SAME) -> pd.DataFrame:
    figures = load(write(folder, rows, same))
    return figures[figures["paper"] == "me2026"]
