"""Shows or collects log messages of components, such as the memory that a saliency needs."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness.system.signals import is_rank_zero


class _Handler(logging.Handler):
    """Gives every message to `show`, once."""

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self.show, self.shown = show, set[str]()

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if line not in self.shown:
            self.show(line)
        self.shown.add(line)


@contextmanager
def print_log_messages(progress: str) -> Iterator[None]:
    """Prints log messages of the harness on stderr, on rank 0, unless `progress` is "none"."""
    if not is_rank_zero() or progress == "none":
        yield
        return
    with _handled(lambda line: print(f"harness: {line}", file=sys.stderr)):
        yield


@contextmanager
def collected_log_messages() -> Iterator[list[str]]:
    """Yields the list to which log messages of the harness inside are added."""
    lines: list[str] = []
    with _handled(lines.append):
        yield lines


@contextmanager
def _handled(show: Callable[[str], None]) -> Iterator[None]:
    logger, handler = logging.getLogger("harness"), _Handler(show)
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
