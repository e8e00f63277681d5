"""Errors that a command tells in one line, apart from wrong input; no torch."""


class LeaseLost(RuntimeError):
    """This process has lost a folder that it was about to write into."""


class NotFinite(RuntimeError):
    """Training produced NaN or infinity."""


class RankLost(RuntimeError):
    """Another rank died, hung or left, so that this one cannot go on."""


class RanksDisagree(RuntimeError):
    """Ranks hold different values where the maths says that they must be equal."""


class WorkersFailed(RuntimeError):
    """The processes that a run started for its ranks ended without a result."""


class WrongEnvironment(ValueError):
    """What the launcher told this rank is wrong; the others may know nothing of it."""
