"""What is said of wrong input steers no terminal, whatever stands in it."""

from collections.abc import Callable, Sequence

from conftest import cases
from handlers import as_before

import harness.clean
import harness.report.__main__
import harness.status
import harness.sweep

EVIL = "\x1b[31mred\x07\u202e"
SHOWN = r"\x1b[31mred\x07\u202e"
Main = Callable[[Sequence[str]], object]


@cases(
    "main, given",
    (harness.clean.main, [EVIL]),
    (harness.clean.main, ["--free", EVIL]),
    (harness.status.main, [EVIL]),
    (harness.status.main, [".", f"--{EVIL}"]),
    (harness.report.__main__.main, [EVIL]),
    (harness.report.__main__.main, [".", "--published", EVIL]),
    (harness.sweep.main, ["run", EVIL]),
    (harness.sweep.main, ["retry", EVIL]),
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
