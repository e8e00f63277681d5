"""Runs `python -m harness worker FOLDER [SOCKET TERMINAL]`: one rank of launch.ranks_per_run.

The rank reads the RunSpec from FOLDER and writes its result there. Rank 0 is given two descriptors:
SOCKET of the store, and TERMINAL for sys.stderr. Descriptor 2 is a log of the parent process, for
output from below Python. harness/launch/backends/local_ranks.py starts the ranks.
"""

import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

from harness.system.signals import exit_on_signals


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status, as of a run in one process."""
    exit_on_signals()
    folder, *descriptors = arguments
    parent = os.getppid()
    try:
        return _work(Path(folder), *map(int, descriptors))
    finally:
        if os.getppid() != parent:  # it was killed, and would have removed the folder
            shutil.rmtree(folder, ignore_errors=True)


def _work(folder: Path, socket: int | None = None, terminal: int | None = None) -> int:
    Thread(target=_stop_with_parent, daemon=True).start()
    if terminal is not None:
        sys.stderr = os.fdopen(terminal, "w", buffering=1)
    from harness.distributed.store_server import start_store
    from harness.launch.backends.rank_results import SPEC_FILE, write_result
    from harness.launch.execute_lazy import execute_spec
    from harness.launch.run_spec import RunSpec

    spec = RunSpec.from_json((folder / SPEC_FILE).read_text())
    kept = start_store(socket, int(os.environ["MASTER_PORT"])) if socket is not None else None
    status = write_result(folder, int(os.environ["RANK"]), spec, lambda: execute_spec(spec))
    del kept
    return status


def _stop_with_parent() -> None:
    """Sends SIGTERM to this process when its parent has exited, which closes stdin."""
    os.read(0, 1)  # sys.stdin in a waiting thread would abort the interpreter's exit
    os.kill(os.getpid(), signal.SIGTERM)
