"""Prints log messages of components on stderr, such as the memory that a saliency needs."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from harness.system.signals import is_rank_zero


class _StderrHandler(logging.Handler):
    """Prints every message once."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if line not in self.printed:
            print(f"harness: {line}", file=sys.stderr)
        self.printed.add(line)


@contextmanager
def print_log_messages(progress: str) -> Iterator[None]:
    """Prints log messages of the harness inside, on rank 0, unless `progress` is "none"."""
    if not is_rank_zero() or progress == "none":
        yield
        return
    logger, handler = logging.getLogger("harness"), _StderrHandler()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
