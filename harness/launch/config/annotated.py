"""Writes the rule of each key beside it in what `--cfg job` prints."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO

import yaml

from harness.launch.config.check import EXPERIMENT, OPTIONS, RUN_OPTIONS
from harness.launch.config.declarations import Declared, declared_fields
from harness.run_folder.identity import Config
from harness.system.command_line import print_text
from harness.vocabulary.checks import rule_of

KEY = re.compile(r"^( *)([\w@/]+):(?: |$)")


@contextmanager
def rules_beside_keys() -> Iterator[None]:
    """Prints what is printed inside with the rules of keys, where that is the config of a run."""
    output = StringIO()
    with redirect_stdout(output):
        yield
    print_text(with_rules(output.getvalue().rstrip("\n")))


def with_rules(text: str) -> str:
    """Returns a run's config, as YAML, with a comment beside each key that declares a rule.

    Other text is returned as it is. The comments change no value.
    """
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if not isinstance(config, dict) or config.get("_target_") != EXPERIMENT:
        return text
    fields = {**declared_fields(EXPERIMENT), **declared_fields(RUN_OPTIONS)}
    rules = dict(_rules("", config, fields))
    return "\n".join(
        f"{line}  # {rules[key]}" if key in rules else line for key, line in _lines(text)
    )


def _rules(path: str, node: Config, fields: Mapping[str, Declared]) -> Iterator[tuple[str, str]]:
    for name, value in node.items():
        declared = fields.get(name)
        if declared and not isinstance(value, dict):
            hint = repr(declared.hint)
            if "Annotated" in hint or "Literal" in hint:
                yield f"{path}{name}", rule_of(declared.hint).partition(";")[0]
        if isinstance(value, dict):
            part = (declared and declared.part) or ""
            target = part if part.startswith(OPTIONS) else str(value.get("_target_"))
            yield from _rules(f"{path}{name}.", value, declared_fields(target))


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Yields (dotted key, line); of a line without a key, ("", line)."""
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        found = KEY.match(line)
        if found:
            indent = len(found[1])
            path = [*((i, name) for i, name in path if i < indent), (indent, found[2])]
        yield ".".join(name for _, name in path) if found else "", line
