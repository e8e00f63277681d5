"""Generates the page of the Python API: the functions and classes that `import harness` gives."""

import ast
import re
from collections.abc import Iterator

from harness import _HOMES
from harness.launch.config.declarations import parsed
from reference.markdown import prose


def api() -> str:
    texts = [
        "# Python API",
        "`import harness` gives these functions and classes. Their examples are tests of the "
        "repository.",
    ]
    nodes = [node for home in dict.fromkeys(_HOMES.values()) for node in parsed(home).body]
    for node in nodes:
        if isinstance(node, ast.FunctionDef) and node.name in _HOMES:
            texts += _function(node, f"harness.{node.name}", "##")
        elif isinstance(node, ast.ClassDef) and node.name in _HOMES:
            texts += _class(node)
    return "\n\n".join(texts) + "\n"


def _class(node: ast.ClassDef) -> Iterator[str]:
    methods = {m.name: m for m in node.body if isinstance(m, ast.FunctionDef)}
    call = f"harness.{node.name}({_arguments(methods['__init__'].args)})"
    yield from (f"## harness.{node.name}", f"```text\n{call}\n```")
    yield prose(ast.get_docstring(node) or "")
    for name, method in methods.items():
        if not name.startswith("_"):
            yield from _function(method, f"{node.name.lower()}.{name}", "###")


def _function(node: ast.FunctionDef, name: str, heading: str) -> Iterator[str]:
    doc = ast.get_docstring(node)
    if doc:
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        call = f"{name}({_arguments(node.args)}){returns}"
        yield from (f"{heading} {name}", f"```text\n{call}\n```", prose(doc))


def _arguments(arguments: ast.arguments) -> str:
    """Returns the parameters, one per line where there are several."""
    joined = re.sub(r"(?<=[\w\]])=(?=\S)", " = ", ast.unparse(arguments))
    joined = joined.removeprefix("self, ").removeprefix("self")
    if len(joined) < 60:
        return joined
    return "\n    " + joined.replace(", ", ",\n    ").replace("[str,\n    ", "[str, ") + ",\n"
