"""Stores the runs of a sweep in a file: written before the first run, read at later starts."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from harness.launch.digests.data import DigestOf, with_data_digests
from harness.launch.run_spec import RunSpec
from harness.launch.sweeps.planned_run import PlannedRun, mark_shared_stages
from harness.launch.trust.stored_parts import (
    check_parts,
    is_own_plan,
    record_own_plan,
    trusted_modules,
)
from harness.system.atomic_files import write_atomic
from harness.system.json_schema import parse_json
from harness.system.redaction import restore

DAMAGED = (ValueError, KeyError, TypeError, AttributeError)  # raised when a damaged plan is read


@dataclass(frozen=True)
class Plan:
    """Holds the runs of a sweep.

    file: the plan's own file.
    name: of the grid in conf/sweep/, or "" for a grid of the command line.
    argv: of the command that made the plan.
    own: this user has made the plan (harness/launch/trust/stored_parts.py). Otherwise its argv is
    never executed, and its runs build allowed parts only.
    refused: folder of a run -> why its rehearsal refuses it; found anew at each start.
    """

    file: Path
    name: str
    folder: Path  # of the sweep
    argv: list[str]
    runs: list[PlannedRun]
    own: bool = True
    refused: Mapping[str, str] = field(default_factory=dict)

    def write(self) -> None:
        """Writes the file and records that this user has made it.

        Raises:
            CannotWrite: the disk is full or read-only.
        """
        head = {"sweep": self.name, "folder": str(self.folder), "argv": self.argv}
        files = {file: sha256_of(file) for run in self.runs for file in run.files}
        lines = [{**head, "files": files}, *map(asdict, self.runs)]
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        write_atomic(self.file, content)
        if self.own:
            record_own_plan(self.file, content)

    def with_data(self, digest: DigestOf) -> "Plan":
        """Returns the plan with runs named by their present data; itself if nothing has changed.

        The folder of a run that started before its data could be read moves to its new name.
        """
        before = [run.spec for run in self.runs]
        after = [spec for _, spec in with_data_digests(enumerate(before), digest)]
        if before == after:
            return self
        whole = zip(self.runs, before, after, strict=True)
        for planned, old, new in whole:
            if old.data_sha256 is None and new.data_sha256:
                _move_run(Path(planned.folder), new.folder)
        labels = [run.label for run in self.runs]
        plain = [replace(spec, shared_stages=[]) for spec in after]
        numbered = zip(range(len(labels)), labels, plain, strict=True)
        return replace(
            self, runs=mark_shared_stages(numbered, plain[0].values["launch"]["share_stages"])
        )

    @property
    def unread(self) -> int:
        """Returns the number of runs without a final name, because their data are not read yet."""
        return sum(run.spec.data_sha256 is None for run in self.runs)

    def check_home(self) -> None:
        """Checks that the runs lie below the sweep's folder, which holds the plan.

        Raises:
            ValueError: a run would lie in another folder.
        """
        home = self.file.absolute().parents[1]
        if self.folder.resolve() != home.resolve():
            raise ValueError(
                f"{self.file} was made for runs in {self.folder}, which is not {home} as seen "
                "from here; start the command in the folder where the plan was made"
            )
        for run in self.runs if not self.own else []:
            if run.spec.folder.resolve() != Path(run.folder).resolve():
                raise ValueError(
                    f"{self.file}: the run {run.label} would lie in {run.spec.folder}, not in "
                    f"{run.folder}; the plan was changed, so make a new one"
                )

    @classmethod
    def read(cls, path: Path, trust: Sequence[str] = ()) -> "Plan":
        """Reads a plan; its runs lie in folders beside it, whatever the current folder is.

        trust: modules whose parts the plan may build, beside the harness's own. A plan of this
        user needs none.

        Raises:
            ValueError: there is no such file, it is no plan, or it builds a part that is not
                allowed.
        """
        trusted_modules(trust)
        try:
            content = path.read_bytes()
            first_line, *lines = content.decode().splitlines()
            header = parse_json(first_line)
            folder, home = Path(header["folder"]), path.parent.parent
            runs = [_read_run(line, folder, home) for line in lines]
            own = is_own_plan(path, content)
            plan = cls(path, header["sweep"], folder, header["argv"], runs, own)
            configs = [run.spec.config for run in runs if not own]
        except (OSError, *DAMAGED) as error:
            raise ValueError(
                f"{path} is no plan of a sweep ({error}); make one with "
                "pruning-harness sweep plan sweep=NAME"
            ) from error
        for config in configs:
            check_parts(config, trust, where=str(path))
        return plan


def check_same_sweep(
    folder: Path, numbered: Iterable[tuple[int, RunSpec]]
) -> Iterator[tuple[int, RunSpec]]:
    """Yields the runs and checks that they belong to this sweep.

    Raises:
        ValueError: a run lies in another folder.
    """
    for number, spec in numbered:
        if spec.sweep_folder != folder:
            raise ValueError(
                "output_dir and sweep_name must be equal in all runs of a sweep, but one run is in "
                f"{spec.sweep_folder} and not in {folder}; start a sweep for each"
            )
        yield number, spec


def _move_run(old: Path, new: Path) -> None:
    if old.is_dir() and not old.is_symlink() and not new.exists():
        new.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # another job of the same plan has moved the folder
            old.rename(new)


def _read_run(line: str, planned_in: Path, home: Path) -> PlannedRun:
    run = PlannedRun(**parse_json(line))
    return replace(run, folder=str(home / Path(run.folder).relative_to(planned_in)))


def sha256_of(name: str) -> str:
    """Returns the digest of a file's content, "" if it is missing.

    name: may hold environment variables.
    """
    file = Path(restore(name))
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
