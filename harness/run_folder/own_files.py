"""What a run writes about itself into its folder, and compares with what it holds at its end."""

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
    """The memory of the run decides, never a file that somebody else may have changed meanwhile.

    hashed_config: Run.written. yaml, command: as of Run. results: names of the files that
    the run ends in.
    """

    path: Path
    results: Sequence[str]
    hashed_config: Config
    yaml: str
    command: tuple[str, ...]

    def begin(self, files: Checkpoints, ranks: Ranks) -> None:
        """Nothing of an earlier start stays."""
        files.clear()
        for old in (*self.results, ENVIRONMENT):
            (self.path / old).unlink(missing_ok=True)
        self.describe(ranks)

    def describe(self, ranks: Ranks) -> None:
        """Config and identity are those of this start, the environment that of the first one."""
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
        """Checks that all is there before sums are taken of it.

        Raises:
            CannotWrite: a result has gone since it was written.
        """
        self.describe(ranks)
        for name in self.results:
            if not (self.path / name).exists():
                raise CannotWrite(
                    f"{self.path / name} has gone while the run worked; the same command goes on "
                    "from its last checkpoint and writes it again"
                )

    def restore(self, held: Sequence[Record], further: bool = False) -> None:
        """Writes records.jsonl anew, and says so, if it is not what the run holds.

        further: lines that follow are not said, for they were measured after a checkpoint.
        """
        file = self.path / "records.jsonl"
        lines = [to_line(record).encode() for record in held]
        content = file.read_bytes() if file.exists() else b""
        whole = b"".join(lines)
        if content == whole:
            return
        if not (further and content.startswith(whole)):
            print(f"warning: {file} {_difference(content, lines)}; written anew", file=sys.stderr)
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
