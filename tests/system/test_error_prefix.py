"""Every line of the harness on stderr begins with one of two words."""

import ast
import re
from collections.abc import Iterator

import pytest
from command import run_main
from conftest import ROOT, cases

from harness.cli.main import COMMANDS

SOURCES = sorted((ROOT / "harness").rglob("*.py"))
STDERR = re.compile(r"print\(.*file=sys\.stderr|os\.write\(2,|self\.exit\(2,", re.DOTALL)


def literals_on_stderr(source: str) -> Iterator[str]:
    """Yields each text, as it stands in the source, that a call prints on stderr."""
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and STDERR.match(ast.unparse(call)):
            texts = (ast.unparse(node) for node in ast.walk(call) if _is_text(node))
            yield from (text.lstrip("fb").strip("'\"") for text in list(texts)[:1])


def _is_text(node: ast.AST) -> bool:
    plain = isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    return plain or isinstance(node, ast.JoinedStr)


def test_every_literal_on_stderr_begins_with_one_of_two_words() -> None:
    said = [(file, text) for file in SOURCES for text in literals_on_stderr(file.read_text())]
    strange = [found for found in said if not found[1].startswith(("harness: ", "warning: "))]
    assert len(said) > 10 and strange == []


@cases(
    "line, found",
    ("print(f'error: {a}', file=sys.stderr)", ["error: {a}"]),
    ("print(f'{a}: b', file=sys.stderr)", ["{a}: b"]),
    ("os.write(2, b'gone')", ["gone"]),
    ("print('fine')", []),
)
def test_a_literal_without_them_is_found(line, found) -> None:
    assert list(literals_on_stderr(line)) == found


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_input_of_every_command_is_one_line_with_the_prefix(
    command, tmp_path, monkeypatch, capfd
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_main(monkeypatch, "nothing_there=1", "--none", command=command) == 2
    said = capfd.readouterr().err
    assert said.startswith("harness: ") and said.count("\n") == 1
