"""Decides which run of a sweep does what one run does for all of them, across processes."""

from pathlib import Path

from harness.system.atomic_files import write_atomic

SHARED = ".tracking"  # in the sweep's folder


def is_first(sweep: Path, task: str, folder: Path) -> bool:
    """True if the run in this folder is the one that does the task for its sweep.

    The first run that calls this gets the task, and keeps it when that run is started again. A
    run whose W&B files are gone loses the task to the next caller.
    """
    lock, name = sweep / SHARED / task, str(folder.relative_to(sweep))
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with lock.open("x") as file:
            file.write(name)
    except FileExistsError:
        return _is_owner(lock, name, sweep)
    return True


def _is_owner(lock: Path, name: str, sweep: Path) -> bool:
    # An empty file is being written by its owner.
    owner = lock.read_text()
    if owner and not (sweep / owner / "wandb").is_dir():
        write_atomic(lock, name)
        return True
    return owner == name
