"""Claims of the literature against a survey: `pruning-harness report RUNS --claims`.

claims.yaml holds the claims. treatments.py reads what was done to each result from its run's
config, differences.py pairs results that differ in nothing but what a claim is about, verdict.py
judges the differences, page.py shows them beside what was published.
"""

from harness.report.claims.check import check
from harness.report.claims.page import report

__all__ = ["check", "report"]
