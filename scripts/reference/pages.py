"""Generates the pages: components, methods, config keys, fields of a record."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.launch.config.check import RUN_OPTIONS
from harness.launch.config.declarations import ROOT, class_of, declared_fields
from reference import recipes
from reference.api import api
from reference.configs import CONF, Config, keys_of, kind_of, read, rule_in, shown
from reference.markdown import code, escaped, paragraph, paragraphs, prose, table
from reference.sources import fields_of

# Named combinations of parts, not parts.
NAMED = ("method", "experiment", "sweep", "controls")
INSIDE = ("learning_rate", "augmentation", "mixing")  # chosen within a training recipe
HEAD = ("key", "default", "type", "allowed", "meaning")


def pages() -> Iterator[tuple[str, str]]:
    """Yields (path below docs/reference, text) of all pages but that of the commands."""
    groups = sorted({file.parent.relative_to(CONF) for file in CONF.glob("*/**/*.yaml")})
    parts = [group for group in groups if str(group) not in NAMED]
    yield "groups.md", _groups(parts)
    for group in parts:
        yield f"groups/{_slug(group)}.md", _group(group)
    yield "methods.md", _methods()
    yield "config.md", _config()
    yield "recipes.md", recipes.page()
    yield "record_fields.md", _record()
    yield "python_api.md", api()


def _slug(group: Path) -> str:
    return str(group).replace("/", "_")


def _files(group: Path | str) -> list[Path]:
    return sorted((CONF / group).glob("*.yaml"))


def override(group: Path | str) -> str:
    """Returns the words of the command line that choose a file of a group.

    >>> override("saliency"), override("learning_rate")
    ('saliency=', 'learning_rate@training.learning_rate=')
    """
    name = str(group)
    return f"{name}@training.{name}=" if name in INSIDE else f"{name}="


def _groups(groups: Iterable[Path]) -> str:
    rows = []
    for group in groups:
        names = ", ".join(code(file.stem) for file in _files(group))
        rows.append([f"[{escaped(str(group))}](groups/{_slug(group)}.md)", names])
    return "\n".join(
        [
            "# Groups",
            "",
            "Every group is a folder of `conf/`; `GROUP=NAME` on the command line chooses a part. "
            "A part of your own is chosen in the same way: see [Add your own "
            "part](../guides/own_parts.md). Named combinations are on [Methods](methods.md).",
            "",
            table(["group", "choices"], rows),
        ]
    )


def _group(group: Path) -> str:
    files = _files(group)
    rows = {file.stem: _rows(read(file)) for file in files}
    counts: dict[tuple[str, ...], int] = {}
    for row in (row for own in rows.values() for row in own):
        counts[row] = counts.get(row, 0) + 1
    common = [row for row, count in counts.items() if count == len(files) > 1]
    choice = f"Chosen by `{override(group)}NAME`."
    if str(group) in INSIDE:
        choice += f" For retraining: `{group}@retraining.{group}=NAME`."
    parts = [f"# {escaped(str(group))}", *_protocol(group.name), choice]
    if common:
        parts += ["Every part of this group has these keys:", table(HEAD, common)]
    for file in files:
        parts += [f"## {file.stem}", *_part(group, read(file))]
        if own := [row for row in rows[file.stem] if row not in common]:
            parts.append(table(HEAD, own))
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _protocol(group: str) -> list[str]:
    """Returns what the base class of a group says of it, and where that class is."""
    package = {"model": "models"}.get(group, group)
    file = f"harness/{package}/base.py"
    name = "".join(word.capitalize() for word in group.split("_"))
    found = class_of(f"harness.{package}.base.{name}") if (ROOT / file).exists() else None
    doc = ast.get_docstring(found[1]) if found else None
    return (
        [paragraph(paragraphs(doc)[0]), f"A part has the methods of `{name}` in `{file}`."]
        if doc
        else []
    )


def _part(group: Path, config: Config) -> list[str]:
    """Returns the docstring of a component's class: its rule and the sources."""
    texts = [escaped(config.head)] if config.head else []
    found = class_of(config.target) if config.target else None
    doc = ast.get_docstring(found[1]) if found else None
    for number, lines in enumerate(paragraphs(doc or "")):
        if number == 0 or lines[0].startswith("Source:"):
            texts.append(paragraph(lines))
    if config.target:
        texts.append(f"Class: `{config.target}`.")
    return texts


def _rows(config: Config) -> list[tuple[str, ...]]:
    fields = fields_of(config.target) if config.target else {}
    rows = []
    for key, value in keys_of(config.content).items():
        field = fields.get(key)
        comment = config.comments.get(key, "")
        kind = field.kind if field else kind_of(value)
        rule = (field.rule if field else "") or rule_in(comment)
        cells = (code(key), code(shown(value)), kind, escaped(rule), escaped(comment))
        rows.append(cells)
    return rows


def _methods() -> str:
    parts = ("saliency", "structure", "allocation")
    rows = []
    for file in _files("method"):
        config = read(file)
        chosen = {
            key.removeprefix("override /"): value
            for entry in config.content.get("defaults", [])
            for key, value in entry.items()
        }
        content = {k: v for k, v in config.content.items() if k != "method"}
        more = [f"{k}={v}" for k, v in chosen.items() if k not in parts]
        more += [f"{k}={shown(v)}" for k, v in keys_of(content).items()]
        cells = [str(config.content["method"]["label"]), *(chosen.get(part, "") for part in parts)]
        rows.append([code(file.stem), *map(escaped, cells), escaped(", ".join(more)), _head(file)])
    head = ["method", "label", *parts, "also", "rule"]
    texts = ["# Methods, experiments, sweeps", "`method=NAME` chooses these parts together:"]
    texts.append(table(head, rows))
    for group, words in (
        ("experiment", "`experiment=NAME` is a published setting, as its differences from "
         "`conf/config.yaml`:"),
        ("sweep", "`-m sweep=NAME` runs a named grid:"),
        ("controls", "In a sweep, `+controls=NAME` adds controls to every method:"),
    ):  # fmt: skip
        named = [[code(file.stem), _head(file)] for file in _files(group)]
        texts += [f"## {group}", words, table([group, "what it is"], named)]
    return "\n\n".join(text.rstrip("\n") for text in texts) + "\n"


def _head(file: Path) -> str:
    return escaped(read(file).head)


def _config() -> str:
    """Returns the keys of conf/config.yaml, with types and rules of the classes behind them."""
    config = read(CONF / "config.yaml")
    own, options = fields_of(config.target), fields_of(RUN_OPTIONS)
    parts = {name: each.part or "" for name, each in declared_fields(RUN_OPTIONS).items()}
    rows: dict[bool, list[list[str]]] = {True: [], False: []}
    names_a_run = True
    for name, value in config.content.items():
        if name in ("_target_", "defaults", "hydra"):
            continue
        names_a_run = names_a_run and name in own
        target = value.get("_target_", parts.get(name)) if isinstance(value, dict) else ""
        inner = fields_of(target or "")
        for key, default in keys_of({name: value}).items():
            field = inner.get(key.rpartition(".")[2]) if "." in key else (own | options).get(key)
            comment = config.comments.get(key, "")
            kind = field.kind if field else kind_of(default)
            rule = (field.rule if field else "") or rule_in(comment)
            cells = [code(key), code(shown(default)), kind, escaped(rule), escaped(comment)]
            rows[names_a_run].append(cells)
    return "\n".join(
        [
            "# Config keys",
            "",
            "`pruning-harness --cfg job` prints every key of a run with its value and its rule. "
            "Keys of parts are on the pages of their [groups](groups.md).",
            "",
            "## Keys that decide the run's hash",
            "",
            "The hash of a run's folder is made of these keys, with those of all parts: see [Run "
            "identity](../design/run_identity.md).",
            "",
            table(HEAD, rows[True]),
            "## Where and how a run happens",
            "",
            "These keys are not part of the hash. Of two runs that differ in them alone, "
            "`records.jsonl` is the same bit for bit, but for the keys of the [numerics "
            "key](../design/run_identity.md#numerics): `device`, `threads` and "
            "`launch.ranks_per_run` (the world size) change numbers by rounding, as another "
            "version of torch does. `ranks.gradient_exchange` does so with more than two ranks. "
            "More ranks also change what BatchNorm learns, unless `sync_batch_norm=true`.",
            "",
            table(HEAD, rows[False]),
        ]
    )


def _record() -> str:
    found = class_of("harness.run_folder.records.Record")
    assert found, "harness.run_folder.records has no Record"
    fields = fields_of("harness.run_folder.records.Record").values()
    rows = [[code(f.name), f.kind, escaped(f.comment)] for f in fields]
    text = prose(ast.get_docstring(found[1]) or "")
    intro = "`records.jsonl` of a run has one JSON object per level and stage, with these fields."
    return "\n\n".join(
        ["# Fields of a record", intro, text, table(["field", "type", "meaning"], rows)]
    )
