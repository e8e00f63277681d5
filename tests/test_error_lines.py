"""Tests that what is said of wrong input steers no terminal, whatever stands in it."""

from collections.abc import Callable, Sequence

from conftest import cases
from handlers import as_before

import harness.cli.clean
import harness.cli.report
import harness.cli.status
import harness.cli.sweep

EVIL = "\x1b[31mred\x07\u202e"
SHOWN = r"\x1b[31mred\x07\u202e"
Main = Callable[[Sequence[str]], object]


@cases(
    "main, given",
    (harness.cli.clean.main, [EVIL]),
    (harness.cli.clean.main, ["--free", EVIL]),
    (harness.cli.status.main, [EVIL]),
    (harness.cli.status.main, [".", f"--{EVIL}"]),
    (harness.cli.report.main, [EVIL]),
    (harness.cli.report.main, [".", "--published", EVIL]),
    (harness.cli.sweep.main, ["run", EVIL]),
    (harness.cli.sweep.main, ["retry", EVIL]),
)
def test_control_characters_of_arguments_are_shown(main, given, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        with as_before():
            status = main(given)
    except SystemExit as left:
        status = left.code
    assert status == 2
    said = capsys.readouterr().err
    assert SHOWN in said.replace("\\\\", "\\") and said.strip().isprintable()
