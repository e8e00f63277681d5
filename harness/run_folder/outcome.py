"""Reads the outcome of a run from its folder."""

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
from harness.system.json_schema import parse_json
from harness.system.loaded_sources import is_current
from harness.system.redaction import has_reference
from harness.task.shared.measures import TOP1, Measure, measured_in

MODEL, MASKS, CONFIG = "model.safetensors", "masks.safetensors", "config.yaml"
EXPORTS = {"onnx": "export/model.onnx", "torch_export": "export/model.pt2"}
COMPACT = ("compact/model.safetensors", "compact/compact.json")
# Files of a finished run; a run without one of them is not finished.
RESULTS = ("records.jsonl", MODEL, MASKS)  # of every run
RERUN = ("never", "changed", "always")


@dataclass(frozen=True)
class Outcome:
    """Holds the outcome of a run, for the list at a sweep's end.

    state: finished, skipped or failed.
    reason, log: why, in one line, and the file with the traceback.
    test, validation: the primary measure of the last record on test and validation data.
    measure: the primary one.
    retryable: another try may end otherwise.
    seconds: duration.
    """

    state: str
    folder: str
    reason: str = ""
    test: float | None = None
    validation: float | None = None
    measure: Measure = TOP1
    log: str = ""
    retryable: bool = False
    seconds: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "measure", Measure(*self.measure))  # a list, if it was JSON


# The classes of a pickled outcome, as (module, name).
PICKLED = {(kind.__module__, kind.__name__) for kind in (Outcome, Measure)}


def results_of(config: Config) -> tuple[str, ...]:
    """Returns the names of the files that a finished run of this config has.

    >>> results_of({"compact": "end", "export": ["onnx"]})[-2:]
    ('compact/compact.json', 'export/model.onnx')
    """
    compact = () if config.get("compact", "never") == "never" else COMPACT
    return (*RESULTS, *compact, *(EXPORTS[name] for name in config.get("export", ())))


def below(runs: Path, file: str) -> Iterator[Path]:
    """Yields every file of this name in a run folder below `runs`, in a fixed order."""
    for folder, inner, names in os.walk(runs):
        # In place, so that walk does not enter them. .cache holds no results, and folders below
        # a run's folder, such as copies for W&B, are no runs.
        inner[:] = [] if file in names else sorted(n for n in inner if not n.startswith("."))
        if file in names:
            yield Path(folder, file)


def finished(
    folder: Path, code: str, rerun: str, results: Sequence[str] = RESULTS
) -> Outcome | None:
    """Returns the outcome of a finished run, None if the run is to be done.

    A finished run with a missing or changed file is to be done again.

    Args:
        folder: of the run.
        code: digest of the run's sources.
        rerun: which finished runs are repeated: never, changed (other commit or code) or always.
        results: names of the files that a finished run has.

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


def _measured(file: Path) -> tuple[float | None, float | None, Measure]:
    """Returns the primary measure of the last record on test and validation data, or None."""
    with suppress(ValueError, IndexError, TypeError):
        last = measured_in(parse_json(file.read_text().splitlines()[-1]))
        return last.value, last.validation_value, last.primary
    return None, None, TOP1


def check_home(folder: Path, hashed_config: Config, records: str = RESULTS[0]) -> None:
    """Checks that a folder holds no results of another config.

    Raises:
        ValueError: it does, or the config of its results is unknown.
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
    # Values of environment variables are compared by the run's hash alone, the folder's name.
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
