"""What became of a run, as its folder tells."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.run_folder.identity import Config, differences, value_at
from harness.run_folder.status_file import Status
from harness.system.atomic_files import read_json
from harness.system.git import commit
from harness.system.loaded_sources import is_current
from harness.system.redaction import has_reference

MODEL, MASKS, CONFIG = "model.safetensors", "masks.safetensors", "config.yaml"
# What a finished run leaves; without all of them it is not finished.
RESULTS = ("records.jsonl", MODEL, MASKS)
RERUN = ("never", "changed", "always")


@dataclass(frozen=True)
class Outcome:
    """What became of a run, for the list at a sweep's end.

    state: finished, skipped or failed. reason: why, in one line. log: file with more of it.
    top1: of the last record, share of test samples; validation: the same of validation samples.
    again: whether another try may end otherwise. seconds: how long it took.
    """

    state: str
    folder: str
    reason: str = ""
    top1: float | None = None
    validation: float | None = None
    log: str = ""
    retryable: bool = False
    seconds: float = 0.0


def below(runs: Path, file: str) -> Iterator[Path]:
    """Every file of this name in the folder of a run, at any depth, in a fixed order."""
    for folder, inner, names in os.walk(runs):
        # In place, so that walk does not enter them: .cache holds no results of its own, and
        # what lies in a run's folder, as copies for W&B, is no further run.
        inner[:] = [] if file in names else sorted(n for n in inner if not n.startswith("."))
        if file in names:
            yield Path(folder, file)


def finished(
    folder: Path, code: str, rerun: str, results: Sequence[str] = RESULTS
) -> Outcome | None:
    """The outcome, if there is nothing left to do for a run with this digest of its sources.

    A finished run of which a file is missing, or is not as it was written, is to be done again.

    rerun: what to do about runs that are finished: never, changed (made by another commit) or
    always.

    Raises:
        ValueError: status.json is damaged.
    """
    file = Status(folder, code)
    status = file.read()
    if status.get("state") != "finished" or rerun == "always":
        return None
    if file.damage(results=results):
        return None
    made_by = status.get("commit")
    measured = _measured(folder / results[0])
    is_same_code = status.get("code") == code and is_current(status.get("unnamed"))
    if made_by == commit() and is_same_code:
        return Outcome("skipped", str(folder), "finished before", *measured)
    if rerun == "changed":
        return None
    other = f"commit {made_by}" if made_by != commit() else "other code"
    return Outcome("skipped", str(folder), f"finished before, by {other}", *measured)


def _measured(records: Path) -> tuple[float | None, float | None]:
    """Accuracy on test and validation data, of the last record; None where it has none."""
    with suppress(ValueError, IndexError):
        last = json.loads(records.read_text().splitlines()[-1])
        return last.get("top1"), last.get("validation_top1")
    return None, None


def check_home(folder: Path, hashed_config: Config, records: str = RESULTS[0]) -> None:
    """
    Raises:
        ValueError: the folder holds results of another config, or of nobody knows which.
    """
    before = read_json(folder / "identity.json")
    if before is None and not (folder / records).exists():
        return
    if not isinstance(before, dict) or "hashed_config" not in before:
        raise ValueError(
            f"{folder} holds records, but its identity.json is missing or damaged; "
            "delete the folder and run again"
        )
    now = json.loads(json.dumps(hashed_config))
    # Of what the environment says only the run's hash can tell, and that is the folder's name.
    changed = [
        key for key in differences(before["hashed_config"], now) if not _refers(before, now, key)
    ]
    if changed:
        keys = ", ".join(changed)
        raise ValueError(
            f"{folder} holds results of another config (it differs in {keys}); "
            "choose another folder with output_dir=PATH, or delete it"
        )


def _refers(before: Config, now: Config, key: str) -> bool:
    return any(has_reference(value_at(config, key)) for config in (before["hashed_config"], now))
