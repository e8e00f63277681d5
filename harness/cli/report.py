"""Runs `pruning-harness report RUNS`: prints tables, and writes CSV, PNG and HTML into a folder.

Exit status: 0 done, 1 an error (with --lint: a rule is not met; with --compare: results differ
beyond seed noise), 2 wrong input, 130 after Ctrl-C.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.system.command_line import Parser, run_command
from harness.system.deletion import check_no_link
from harness.system.processes import without_collection

if TYPE_CHECKING:
    from harness.report.paper import Paper

# Options that are given alone, and those of figures for print.
_ALONE = ("compare", "claims")
_OF_PAPER = ("width", "panels", "methods", "font", "latency")


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _run(options))


def _check(options: argparse.Namespace) -> list[str]:
    """Checks options for files, folders and combinations, and returns those that are given.

    Raises:
        ValueError: an option names no file or folder, or two options exclude each other.
    """
    for file in options.published:
        if not file.is_file():
            raise ValueError(f"--published {file} is no file; give a file of published figures")
    if options.out and options.out.exists() and not options.out.is_dir():
        raise ValueError(f"--out {options.out} is no folder; give an existing folder or a new path")
    given = [
        name
        for name in ("lint", *_ALONE, "against", "test", "published", "published_for", *_OF_PAPER)
        if getattr(options, name) not in (None, False, [])
    ]
    if "test" in given and "against" not in given:
        raise ValueError("--test names the test of --against; give --against LABEL too")
    alone = [name for name in given if name in _ALONE]
    if alone and len(given) > 1:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"{names} do not go together; give --{alone[0]} alone")
    return given


def _run(options: argparse.Namespace) -> int:
    given = _check(options)
    out = options.out or options.runs / "report"
    if not options.out:
        check_no_link(out, "name its target with --out")
    # Imported late: --help needs no pandas, and a wrong folder is found before matplotlib loads.
    if given == ["lint"]:
        from harness.report.protocol.lint import lint
        from harness.report.read.load import load

        return lint(load(options.runs), out)
    if options.compare:
        from harness.report.significance.compare import compare

        return compare(options.runs, options.compare, out)
    return _claims(options.runs, out) if options.claims else _report(options, out)


def _claims(runs: Path, out: Path) -> int:
    from harness.report import claims
    from harness.report.console import print_text
    from harness.report.read.load import load

    for path in claims.report(load(runs), out):
        print_text(str(path))
    return 0


@without_collection()
def _report(options: argparse.Namespace, out: Path) -> int:
    from harness.report.published import parse_published_for
    from harness.report.read.load import load
    from harness.report.write import get_ready, write

    paper = _paper(options)
    get_ready()
    published_for = parse_published_for(options.published_for)
    test = options.test or "t"
    survey = load(options.runs, options.against, test, options.published, published_for, paper)
    from harness.report.console import print_text
    from harness.report.tables import print_tables

    print_tables(survey)
    for path in write(survey, out):
        print_text(str(path))
    if options.lint:
        from harness.report.protocol.lint import lint

        return lint(survey, out)
    return 0


def _paper(options: argparse.Namespace) -> "Paper":
    from harness.report.paper import Paper, parse_font, parse_panels, parse_width

    named = {name: getattr(options, name) for name in _OF_PAPER}
    given = {name: value for name, value in named.items() if value not in (None, [])}
    texts = {name: text if isinstance(text, list) else [text] for name, text in given.items()}
    words = [word for name in texts for text in texts[name] for word in (f"--{name}", text)]
    return Paper(
        parse_width(given["width"]) if "width" in given else None,
        parse_panels(given["panels"]) if "panels" in given else None,
        tuple(texts["methods"]) if "methods" in given else None,
        parse_font(given["font"]) if "font" in given else Paper.font,
        tuple(words),
        given.get("latency"),
    )


def _parser() -> Parser:
    parser = Parser(
        prog="pruning-harness report",
        description="Accuracy against compression and theoretical speed-up, over seeds.",
    )
    parser.add_argument(
        "runs", metavar="RUNS", type=Path, help="folder of a run, of a sweep or of all runs"
    )
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, help="where to write (default: RUNS/report)"
    )
    _add_comparisons(parser)
    _add_published(parser)
    _add_paper(parser)
    parser.add_argument(
        "--lint",
        action="store_true",
        help="check the survey's protocol, alone or after a report with --against; exit status 1 "
        "if a rule is not met",
    )
    parser.add_argument(
        "--claims", action="store_true", help="test claims of the literature with these runs"
    )
    return parser


def _add_comparisons(parser: Parser) -> None:
    parser.add_argument(
        "--against", metavar="LABEL", help="compare every other method with this one, seed by seed"
    )
    parser.add_argument(
        "--test",
        choices=("t", "wilcoxon"),
        help="test of --against: paired t (default) or signed-rank",
    )
    parser.add_argument(
        "--compare",
        metavar="OTHER",
        type=Path,
        help="compare with other runs; exit status 1 if results differ beyond seed noise",
    )


def _add_published(parser: Parser) -> None:
    parser.add_argument(
        "--published",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="a file of published results, beside those of the harness",
    )
    parser.add_argument(
        "--published-for",
        metavar="DATA=PUBLISHED",
        action="append",
        default=[],
        help="show published results of another data set: mnist5k=mnist",
    )


def _add_paper(parser: Parser) -> None:
    of_print = parser.add_argument_group("figures for print")
    of_print.add_argument(
        "--width", metavar="WIDTH", help="width of each figure, with its unit: 5.5in, 14cm, 397pt"
    )
    of_print.add_argument(
        "--panels",
        metavar="NAMES",
        help="panels: compression, speedup, measured_speedup, latency, cost",
    )
    of_print.add_argument(
        "--methods",
        metavar="LABELS",
        action="append",
        default=[],
        help="methods to show in figures, tables and page, in this order, with commas between; "
        "average ranks, corrections and CSV files are of all methods",
    )
    of_print.add_argument(
        "--latency",
        metavar="CONDITIONS",
        help='measured speed under these conditions: "batch 1, eager" (default: those of most '
        "results)",
    )
    of_print.add_argument(
        "--font", metavar="POINTS", help="size of all type in figures, 7 or more (default: 9)"
    )
