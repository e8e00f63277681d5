"""Restores the signal handlers of this process, which a command line replaces."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

Handlers = dict[signal.Signals, object]


def handlers() -> Handlers:
    """Returns the handler of each signal that this process can handle."""
    return {number: signal.getsignal(number) for number in signal.Signals}


def changed(before: Handlers) -> list[str]:
    """Names the signals whose handlers have changed, and restores the handlers."""
    odd = [number for number, handler in handlers().items() if handler != before[number]]
    for number in odd:
        signal.signal(number, before[number])  # type: ignore[arg-type]
    return [number.name for number in odd]


@contextmanager
def as_before() -> Iterator[None]:
    """Restores all signal handlers at the end of the context."""
    before = handlers()
    try:
        yield
    finally:
        changed(before)
