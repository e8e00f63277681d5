"""Shows figures typed from the literature beside own results of the same model and data set.

figures/*.csv hold one paper each (two files where a paper has two recipes). schema.py defines the
columns, and read.py checks every row. convert.py converts the published ratio to the ratios of this
project (all parameters, and MACs, before / after), or gives the reason why it cannot. match.py
selects the figures of a section. Each row names its place in the paper and how it was counted.

Figures are matched by the name in the literature that the classes of the model and the data set
declare, as `published_as: ClassVar[str] = "mnist"`. The names of configs do not matter.

An own file has the same columns. First come lines "# name: value" for values that all rows share,
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
