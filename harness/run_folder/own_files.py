"""Writes the descriptive files of a run, and repairs its records at its end."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.distributed import Ranks
from harness.run_folder.checkpoints import Checkpoints
from harness.run_folder.environment import environment
from harness.run_folder.identity import Config
from harness.run_folder.records import Record, to_line
from harness.system.atomic_files import CannotWrite, read_json, write_atomic, write_json

ENVIRONMENT = "environment.json"


@dataclass(frozen=True)
class RunFolder:
    """Writes the files of a run from its memory; files changed by others are overwritten.

    hashed_config: Run.written. yaml, command: as of Run. results: names of the files that
    the run ends in.
    """

    path: Path
    results: Sequence[str]
    hashed_config: Config
    yaml: str
    command: tuple[str, ...]

    def begin(self, files: Checkpoints, ranks: Ranks) -> None:
        """Deletes all files of an earlier start and writes the descriptive files."""
        files.clear()
        for old in (*self.results, ENVIRONMENT):
            (self.path / old).unlink(missing_ok=True)
        self.describe(ranks)

    def describe(self, ranks: Ranks) -> None:
        """Writes config and identity of this start; the environment is that of the first start."""
        _keep(self.path / "config.yaml", self.yaml)
        identity = (
            json.dumps({"hashed_config": self.hashed_config}, indent=1, sort_keys=True) + "\n"
        )
        _keep(self.path / "identity.json", identity)
        try:
            present = read_json(self.path / ENVIRONMENT)
        except ValueError:
            present = None
        if present is None:
            write_json(self.path / ENVIRONMENT, environment(ranks, self.command))

    def settle(self, ranks: Ranks) -> None:
        """Checks that all files exist before their checksums are computed.

        Raises:
            CannotWrite: a result file is missing.
        """
        self.describe(ranks)
        for name in self.results:
            if not (self.path / name).exists():
                raise CannotWrite(
                    f"{self.path / name} was deleted during the run; the same command resumes "
                    "from the last checkpoint and writes it again"
                )

    def restore(self, held: Sequence[Record], further: bool = False) -> None:
        """Rewrites records.jsonl, with a warning, if it differs from the records of the run.

        further: no warning for additional lines, which were measured after the checkpoint.
        """
        file = self.path / "records.jsonl"
        lines = [to_line(record).encode() for record in held]
        content = file.read_bytes() if file.exists() else b""
        whole = b"".join(lines)
        if content == whole:
            return
        if not (further and content.startswith(whole)):
            print(f"warning: {file} {_difference(content, lines)}; rewritten", file=sys.stderr)
        write_atomic(file, whole)


def _keep(file: Path, content: str) -> None:
    if not file.exists() or file.read_bytes() != content.encode():
        write_atomic(file, content)


def _difference(content: bytes, lines: Sequence[bytes]) -> str:
    present = content.splitlines(keepends=True)
    for number, (line, expected) in enumerate(zip(present, lines, strict=False), start=1):
        if line != expected:
            return f"is not what the run holds: line {number} differs"
    return f"has {len(present)} lines, and the run holds {len(lines)}"
