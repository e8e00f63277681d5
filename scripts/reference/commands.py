"""Generates the page of the commands from their parsers, without torch."""

import argparse
import re
from importlib import import_module

from harness.cli.main import COMMANDS, RUNNING
from reference.markdown import code, escaped, table

# Hydra reads the arguments of the others.
NAMES = tuple(name for name in COMMANDS if name not in (*RUNNING, "shrink"))


def parser_of(name: str) -> argparse.ArgumentParser:
    """Returns the parser of a command."""
    parser: argparse.ArgumentParser = import_module(f"harness.cli.{name}")._parser()
    return parser


def page() -> str:
    texts = [
        "# Commands",
        "`pruning-harness COMMAND` and `python -m harness COMMAND` are the same. Without a command "
        "it runs what its `KEY=VALUE` words and `-m` say. Exit statuses: [Exit "
        "codes](exit_codes.md).",
        table(["command", "what it does"], [_summary(name) for name in COMMANDS]),
        "`run`, `sensitivity`, `latency` and `shrink` take `KEY=VALUE` words and Hydra's flags: "
        "see [Config "
        "keys](config.md). `-m` runs every combination of comma-separated values, "
        "`--config-dir FOLDER` adds parts of your own, `--cfg job` prints the config, and `--help` "
        "lists all parts.",
    ]
    for name in NAMES:
        texts += _command(f"pruning-harness {name}", parser_of(name), 2)
    return "\n\n".join(text.rstrip("\n") for text in texts) + "\n"


def _summary(name: str) -> list[str]:
    linked = f"[{code(name)}](#pruning-harness-{name})" if name in NAMES else code(name)
    return [linked, escaped(COMMANDS[name])]


def _command(name: str, parser: argparse.ArgumentParser, depth: int) -> list[str]:
    texts = [f"{'#' * depth} {name}", escaped(" ".join((parser.description or "").split()))]
    rows, inner = [], []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for word, sub in action.choices.items():
                texts_of_sub = _command(f"{name} {word}", sub, depth + 1)
                if helps.get(word) and not texts_of_sub[1]:
                    texts_of_sub[1] = escaped(helps[word])
                inner += texts_of_sub
        elif not isinstance(action, argparse._HelpAction):
            rows.append(_row(action))
    if rows:
        texts.append(table(["argument", "default", "meaning"], rows))
    return [*filter(None, texts), *inner]


def _row(action: argparse.Action) -> list[str]:
    metavar = action.metavar or action.dest.upper()
    choices = "|".join(map(str, action.choices or ())) or str(metavar)
    takes = action.nargs != 0
    flags = ", ".join(
        code(f"{flag} {choices}" if takes else flag) for flag in action.option_strings
    )
    default = "" if action.default in (None, False, [], argparse.SUPPRESS) else str(action.default)
    words = re.sub(r"\s+", " ", (action.help or "") % {**vars(action), "prog": ""})
    return [flags or code(str(metavar)), code(default), escaped(words)]
