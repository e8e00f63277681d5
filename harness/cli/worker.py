"""`python -m harness worker FOLDER [SOCKET TERMINAL]`: one rank of a run that started them itself.

Reads the run's point from FOLDER and leaves there what became of it. For rank 0 descriptors: of a
socket for the store, and of what sys.stderr writes to; descriptor 2, with what comes from below
Python and a watchdog's last word, is a log of the starter's. See
harness/launch/backends/local_ranks.py.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

from harness.system.signals import leave_on_signals


def main(arguments: Sequence[str]) -> int:
    """The exit status, as of a run in one process."""
    leave_on_signals()
    folder, *descriptors = arguments
    return _work(Path(folder), *map(int, descriptors))


def _work(folder: Path, socket: int | None = None, terminal: int | None = None) -> int:
    Thread(target=_leave_after_starter, daemon=True).start()
    if terminal is not None:
        sys.stderr = os.fdopen(terminal, "w", buffering=1)
    from harness.distributed.store_server import keep_store
    from harness.launch.backends.rank_results import POINT, tell
    from harness.launch.execute_lazy import execute_spec
    from harness.launch.run_spec import RunSpec

    point = RunSpec.from_json((folder / POINT).read_text())
    kept = keep_store(socket, int(os.environ["MASTER_PORT"])) if socket is not None else None
    status = tell(folder, int(os.environ["RANK"]), point, lambda: execute_spec(point))
    del kept
    return status


def _leave_after_starter() -> None:
    """As if asked to stop: nobody is there to hear the result."""
    os.read(0, 1)  # not sys.stdin: a thread that waits for it aborts the interpreter's end
    os.kill(os.getpid(), signal.SIGTERM)
