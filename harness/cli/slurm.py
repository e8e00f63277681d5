"""Runs `pruning-harness slurm init`, which writes the sbatch templates beside the user's files."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from harness.launch.paths import shipped
from harness.system.atomic_files import CannotWrite, write_atomic, writing
from harness.system.command_line import Parser, print_text, run_command
from harness.system.names import printable

INIT = (
    "Writes the sbatch templates into FOLDER/slurm. If a file there differs from its template, "
    "nothing is written."
)
FOLDER = "slurm"  # the templates find each other by this name
LOGS = {"logs/.gitignore": b"*\n!.gitignore\n"}  # sbatch needs the folder


def main(arguments: Sequence[str]) -> int:
    """Returns 0, 1 if the disk cannot be written to, 2 for wrong input."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: options.work(options), CannotWrite)


def templates() -> dict[str, bytes]:
    """Returns the files to write: path below slurm/ -> content."""
    files = sorted(file for file in shipped(FOLDER).iterdir() if file.is_file())
    return {file.name: file.read_bytes() for file in files} | LOGS


def _init(options: argparse.Namespace) -> int:
    if not options.folder.is_dir():
        raise ValueError(f"FOLDER={options.folder} is no folder; create it first")
    home = options.folder / FOLDER
    content = templates()
    present = {name for name in content if (home / name).exists()}
    changed = sorted(name for name in present if (home / name).read_bytes() != content[name])
    if changed:
        raise ValueError(
            f"{home}: changed files ({', '.join(changed)}); nothing was written. Move them to "
            "another place first"
        )
    for name in sorted(content.keys() - present):
        _write(home / name, content[name])
    written = len(content) - len(present)
    print_text(printable(f"{home}: {written} files written, {len(present)} existed"))
    return 0


def _write(path: Path, content: bytes) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)
    if content.startswith(b"#!"):
        path.chmod(0o755)


def _parser() -> Parser:
    parser = Parser(prog="pruning-harness slurm", description="Writes the sbatch templates.")
    commands = parser.add_subparsers(required=True, metavar="init")
    init = commands.add_parser("init", description=INIT, help="write the sbatch templates")
    init.set_defaults(work=_init)
    init.add_argument(
        "folder", metavar="FOLDER", nargs="?", type=Path, default=Path(),
        help="where jobs are submitted from (default: the current folder)",
    )  # fmt: skip
    return parser
