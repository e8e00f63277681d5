"""Tests claims of the literature on a survey: `pruning-harness report RUNS --claims`.

claims.yaml has the claims. treatments.py reads the treatment of each result from its run's config.
differences.py pairs results that differ only in the subject of a claim. verdict.py judges the
differences, and page.py shows them beside the published values.
"""

from harness.report.claims.check import check
from harness.report.claims.page import report

__all__ = ["check", "report"]
