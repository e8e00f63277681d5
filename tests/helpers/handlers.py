"""Signal handlers of this process, which a command line that runs in it takes over."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

Handlers = dict[signal.Signals, object]


def handlers() -> Handlers:
    """Returns what is in force for each signal that this process can hear."""
    return {number: signal.getsignal(number) for number in signal.Signals}


def changed(before: Handlers) -> list[str]:
    """Names the signals whose handlers are others now, and puts those of before back."""
    odd = [number for number, handler in handlers().items() if handler != before[number]]
    for number in odd:
        signal.signal(number, before[number])  # type: ignore[arg-type]
    return [number.name for number in odd]


@contextmanager
def as_before() -> Iterator[None]:
    """Whatever happens inside, the handlers of before are in force afterwards."""
    before = handlers()
    try:
        yield
    finally:
        changed(before)
