"""Runs `pruning-harness data list|prepare`, which list and fetch data sets of conf/data."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.launch.paths import CONF
from harness.system.command_line import Parser, print_text, run_command

LIST = "Lists the data sets: samples, shape, classes, and where their files are."
PREPARE = "Fetches a data set that is not part of a package, and checks it."
NAME = 14  # characters of the column of names


def main(arguments: Sequence[str]) -> int:
    """Returns 0, 1 if a data set could not be fetched, 2 for wrong input."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: options.work(options))


def names() -> list[str]:
    return sorted(file.stem for file in (CONF / "data").glob("*.yaml"))


def _list(options: argparse.Namespace) -> int:
    print_text(_row("DATA", "TRAIN", "VALIDATION", "TEST", "SHAPE", "CLASSES", "WHERE"))
    for name in names():
        print_text(_described(name, options.root))
    return 0


def _described(name: str, root: str) -> str:
    from harness.data.shared.splits import PARTS  # late, as it imports torch

    try:
        part = _built(name, root)
        splits = part.load()
    except ValueError as error:
        return f"{name:<{NAME}}not here: {error}"
    sizes = (len(getattr(splits, split)) for split in PARTS)
    named = splits.shape if isinstance(splits.shape, dict) else {"": splits.shape}
    shape = " ".join(f"{name} {'x'.join(map(str, each))}".strip() for name, each in named.items())
    return _row(name, *sizes, shape, splits.classes, _where(part))


def _row(*cells: object) -> str:
    widths = (NAME, 8, 12, 8, 10, 9, 0)
    return "".join(f"{cell!s:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _where(part: Any) -> str:
    files = list(part.files()) if hasattr(part, "files") else []
    return str(files[0].parent) if files else "comes with the harness or a package it needs"


def _prepare(options: argparse.Namespace) -> int:
    from harness.data.shared.array_sets import ARRAY_SETS  # late, as it imports numpy

    name, root = options.name, options.root
    if name in ARRAY_SETS:
        part = _built("torchvision", root, f"data.name={name}")
    elif name in names():
        part = _built(name, root)
    else:
        known = ", ".join([*names(), *ARRAY_SETS])
        raise ValueError(f"{name}: no such data set; there are: {known}")
    if not hasattr(part, "fetch"):
        print_text(f"{name} needs no preparation")
        return 0
    given = Path(options.given) if options.given else None
    print_text(f"{name} is in {part.fetch(given, print_text)}")
    return 0


def _built(name: str, root: str, *overrides: str) -> Any:
    """Returns the data set.

    Raises:
        ValueError: its config leaves a key to the user.
    """
    # Imported late: --help needs no torch.
    from harness.launch.compose import compose_config, missing_keys
    from harness.launch.instantiate import build_part

    config = compose_config([f"data={name}", *overrides]).data
    if "root" in config:
        config.root = root
    if missing := missing_keys(config):
        raise ValueError(f"give data.{min(missing)}: see docs/guides/data.md")
    return build_part(config)


def _parser() -> Parser:
    parser = Parser(prog="pruning-harness data", description="Lists data sets, and fetches one.")
    commands = parser.add_subparsers(required=True, metavar="list|prepare")
    listed = commands.add_parser("list", description=LIST, help=LIST)
    listed.set_defaults(work=_list)
    listed.add_argument(
        "--root", default="data", help="folder of fetched data sets (default: data)"
    )
    prepare = commands.add_parser("prepare", description=PREPARE, help=PREPARE)
    prepare.set_defaults(work=_prepare)
    prepare.add_argument(
        "name",
        metavar="NAME",
        help="name of a data set, as `data list` prints it or torchvision has it",
    )
    prepare.add_argument(
        "root", metavar="ROOT", nargs="?", default="data", help="folder to fill (default: data)"
    )
    prepare.add_argument(
        "--from", dest="given", metavar="PATH", help="archive or folder with the files, to copy"
    )
    return parser
