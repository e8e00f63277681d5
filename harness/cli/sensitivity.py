"""`pruning-harness sensitivity [KEY=VALUE ...]`: each layer pruned alone; the keys are those of a
run."""

from collections.abc import Sequence

from harness.cli import run


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status, as harness.cli.run does."""
    return run.main(arguments, "analyse")
