"""Calls that go on in a Python of their own: another core, another interpreter lock."""

import atexit
import gc
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from typing import Any

_WORKERS: dict[str, "_Worker"] = {}


def begin(function: str) -> "_Worker":
    """Starts the process for "module:name", which imports that module; one per function."""
    if function not in _WORKERS:
        _WORKERS[function] = _Worker(function)
    return _WORKERS[function]


@contextmanager
def aside(function: str, *arguments: Any) -> Iterator[Callable[[], Any]]:
    """The call goes on while the body runs, which gets its result from what is yielded here.

    Arguments and result are pickled. A body that is left without the result stops the call.
    """
    worker = begin(function)
    worker.ask(arguments)
    try:
        yield cache(worker.answer)
    finally:
        if worker.at_work:
            worker.end()


class _Worker:
    def __init__(self, function: str):
        self.function = function
        self.at_work = False
        # A session of its own: Ctrl-C is for the report, which then ends this one.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.report.aside", function],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        atexit.register(self.end)

    def ask(self, arguments: tuple[Any, ...]) -> None:
        self.at_work = True
        with suppress(BrokenPipeError):  # it has gone: `answer` finds out
            pickle.dump(arguments, self._process.stdin)  # type: ignore[arg-type]
            self._process.stdin.flush()  # type: ignore[union-attr]

    def answer(self) -> Any:
        """
        Raises:
            OSError: the process has gone.
            Exception: what the function has raised.
        """
        try:
            done, result = pickle.load(self._process.stdout)  # type: ignore[arg-type]
        except EOFError:
            raise OSError(
                f"the process of {self.function} ended with status {self._process.wait()} before "
                "its work was done; see what it said above, and whether there is memory left"
            ) from None
        self.at_work = False
        if not done:
            raise result
        return result

    def end(self) -> None:
        atexit.unregister(self.end)
        del _WORKERS[self.function]
        self._process.kill()
        self._process.stdout.close()  # type: ignore[union-attr]
        with suppress(BrokenPipeError):  # it had not read everything
            self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()


def _serve(function: str) -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # nobody waits for the answer any more
    answers, sys.stdout = sys.stdout.buffer, sys.stderr  # a print spoils no answer
    module, _, name = function.partition(":")
    call = getattr(import_module(module), name)
    gc.disable()
    while True:
        try:
            arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = (True, call(*arguments))
        except Exception as error:
            answer = (False, error)
        pickle.dump(answer, answers)
        answers.flush()
        gc.collect()  # now that nobody waits for it


if __name__ == "__main__":
    _serve(sys.argv[1])
