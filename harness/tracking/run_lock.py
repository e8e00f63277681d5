"""What the runs of a sweep do once between them, each in a process of its own."""

from pathlib import Path

from harness.system.atomic_files import write_whole

SHARED = ".tracking"  # in the sweep's folder


def is_first(sweep: Path, what: str, folder: Path) -> bool:
    """Whether the run in this folder is the one that does it: the first that asked, and again
    when it is started again. One whose W&B files are gone no longer counts."""
    claim, me = sweep / SHARED / what, str(folder.relative_to(sweep))
    claim.parent.mkdir(parents=True, exist_ok=True)
    try:
        with claim.open("x") as file:
            file.write(me)
    except FileExistsError:
        return _is_owner(claim, me, sweep)
    return True


def _is_owner(claim: Path, me: str, sweep: Path) -> bool:
    # Empty: its owner is writing it.
    owner = claim.read_text()
    if owner and not (sweep / owner / "wandb").is_dir():
        write_whole(claim, me)
        return True
    return owner == me
