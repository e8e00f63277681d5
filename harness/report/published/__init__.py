"""Figures typed from the literature, shown beside one's own for the same model and data set.

figures/*.csv hold a paper each (two files where a paper has two recipes); schema.py says what
their columns mean. read.py checks every row, convert.py turns the published ratio into this
project's (all parameters, and MACs, before / after) or says why it cannot, beside.py picks what
belongs to a section of a report. Each row says where it was read and how it was counted.

Figures are found by the name in the literature that the classes of the model and the data set
declare, as `published_as: ClassVar[str] = "mnist"`, and not by the names of their configs.

A file of one's own has the same columns: lines "# name: value" first, for what all rows share,
then column names, then a line per figure:

    # paper: me2026
    # authors: Me
    # year: 2026
    # title: Our runs of last year
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
    # recipe: Adam, 20 epochs
    method,size,accuracy,std,n
    Global Magnitude,0.1,98.2,0.1,5
"""

from harness.report.published.match import LiteratureNames, match_figures, parse_published_for
from harness.report.published.read import load

__all__ = ["LiteratureNames", "parse_published_for", "match_figures", "load"]
