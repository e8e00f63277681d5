"""Ends a rank whose interpreter is blocked, as by C code that holds the GIL.

No thread of such a process can do that. So a small process beside it waits for a byte every round.
"""

import faulthandler
import os
import select
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

# Signals that a launcher or terminal sends to all processes. This one ends with its rank.
_OF_THE_RANK = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class InterpreterMonitor:
    """Ends this process if `beat` is not called for a number of rounds.

    Prints the stack of each thread.

    Another process counts the rounds, and not while this one is stopped (SIGSTOP). So a pause of
    the machine or of the whole job does not count.

    Args:
        name: Name of the rank.
        rounds: Number of rounds without a beat.
        round_s: Seconds of a round.
    """

    def __init__(self, name: str, rounds: int, round_s: float):
        self._at_end = ExitStack()
        if not faulthandler.is_enabled() and sys.__stderr__ is not None:
            # faulthandler prints the stack of every thread without the interpreter.
            faulthandler.enable(sys.__stderr__)
            self._at_end.callback(faulthandler.disable)
        arguments = [name, str(os.getpid()), str(rounds), str(round_s)]
        self._process = subprocess.Popen(
            # Without site and packages the process starts in about 20 ms.
            [sys.executable, "-I", "-S", str(Path(__file__)), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        assert self._process.stdin is not None
        self._pipe = self._process.stdin.fileno()
        os.set_blocking(self._pipe, False)

    def beat(self) -> None:
        with suppress(OSError):
            os.write(self._pipe, b".")

    def close(self) -> None:
        """Ends the monitoring process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        self._process.kill()
        self._process.wait()
        self._at_end.close()


def monitor(name: str, process: int, rounds: int, round_s: float) -> None:
    """Waits until stdin is closed, or ends the process after `rounds` without a byte."""
    for number in _OF_THE_RANK:
        signal.signal(number, signal.SIG_IGN)
    missed = 0
    while missed < rounds:
        if select.select([0], [], [], round_s)[0]:
            if not os.read(0, 4096):
                return
            missed = 0
        elif os.getppid() != process:
            return
        elif not _is_stopped(process):
            missed += 1
    message = (
        f"harness: {name} holds its interpreter for {rounds * round_s:.0f} s, so that none of its "
        "threads can run; it ends, and prints where it is\n"
    )
    os.write(2, message.encode())
    os.kill(process, signal.SIGABRT)


def _is_stopped(process: int) -> bool:
    try:
        # The state follows the name, which may contain blanks and brackets.
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # /proc exists on Linux only
        return False
    return state in "Tt"


if __name__ == "__main__":
    monitor(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
