"""Defines errors that a command prints in one line, apart from wrong input. No torch."""

RESUME_HINT = "the same command resumes from the last checkpoint"


class LeaseLost(RuntimeError):
    """Reports that this process has lost a folder before a write."""


class NotFinite(RuntimeError):
    """Reports NaN or infinity in a training."""


class RankLost(RuntimeError):
    """Reports that another rank died, hung or left, so that this rank cannot continue."""


class RanksDisagree(RuntimeError):
    """Reports values that differ between ranks and must be equal."""


class WorkersFailed(RuntimeError):
    """Reports that the processes of a run's ranks ended without a result."""


class WrongEnvironment(ValueError):
    """Reports wrong variables of the launcher. Other ranks may not notice them."""
