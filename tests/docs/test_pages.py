"""Tests what holds for every page: classes of its blocks, alt texts, commands that compose."""

import ast
import doctest
import shlex
import subprocess

import pytest
import yaml
from conftest import ROOT, cases
from doc_pages import CONFIGURED, PAGES, blocks_of, name_of, overrides_of, split, words_of
from reference import blocks, commands, configs, markdown, pages, sources
from reference.blocks import FENCE, Block, problems

from harness.cli.shrink import with_defaults
from harness.launch.compose import compose_config

COMPOSED = [
    pytest.param(command, id=f"{name_of(page)}:{block.line}:{number}")
    for page, block in blocks_of("compose")
    if block.language != "python"
    for number, command in enumerate(block.commands())
    if words_of(command) is not None
]
READ = [
    pytest.param(block, id=f"{name_of(page)}:{block.line}")
    for page, block in (*blocks_of("compose"), *blocks_of("run"))
]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_of_commands_has_a_class_and_every_image_an_alt_text(page) -> None:
    assert problems(page.read_text()) == []


@cases(
    "text, missing",
    ("```bash\nls\n```", "needs a class"),
    ("```bash {.never}\nls\n```", "needs a class"),
    ("```python\nimport x\n```", "needs a class"),
    ("![](a.png)", "needs an alt text"),
    ('<img src="a.png">', "needs an alt text"),
)  # fmt: skip
def test_a_page_that_lacks_one_is_named(text, missing) -> None:
    (lack,) = problems(f"# Title\n\n{text}\n")
    assert missing in lack


@pytest.mark.parametrize("block", READ)
def test_a_block_can_be_read(block: Block) -> None:
    if block.language == "python":
        ast.parse(block.text)
    else:
        done = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_configs_that_a_page_shows_are_yaml(page) -> None:
    for fence in FENCE.finditer(page.read_text()):
        if fence.group(2).strip() == "yaml":
            yaml.safe_load(fence.group(3))


@pytest.mark.parametrize("command", COMPOSED)
def test_a_command_composes_or_has_options_that_it_knows(command) -> None:
    name, words = split(words_of(command) or [])
    if name == "sweep" and words[0] == "plan":
        name, words = "", words[1:]
    if name == "shrink":
        name, words = "", with_defaults(words)
    if name in ("", *CONFIGURED):
        assert compose_config([*_own_folders(words), *overrides_of(words)])
    else:
        commands.parser_of(name).parse_args(words)


def _own_folders(words: list[str]) -> list[str]:
    if "--config-dir" not in words:
        return []
    folder = ROOT / "examples" / "own_parts" / words[words.index("--config-dir") + 1]
    return [f"hydra.searchpath=[file://{folder}]"]


@pytest.mark.parametrize("module", (blocks, configs, markdown, pages, sources))
def test_the_examples_of_the_generator_are_so(module) -> None:
    assert doctest.testmod(module).failed == 0


def test_commands_are_split_as_a_shell_splits_them() -> None:
    assert words_of("pruning-harness 'a=[1, 2]'") == shlex.split("'a=[1, 2]'")
    assert words_of("python -m harness.report runs") is None
