"""Runs `pruning-harness latency [KEY=VALUE ...]`, which writes a latency table."""

from collections.abc import Sequence

from harness.cli import run


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status; the keys and the statuses are those of a run."""
    return run.main(arguments, "measure")
