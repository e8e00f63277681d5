"""Runs the commands of the blocks of class `run`, those of a page one after another in a folder."""

import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest
from command import environment, python
from doc_pages import CONFIGURED, blocks_of, name_of, split, words_of
from reference.blocks import Block, files

RUN = [
    pytest.param(page, [block for _, block in found], id=name_of(page))
    for page, found in groupby(blocks_of("run"), key=lambda pair: pair[0])
]
TORCHRUN = ("-m", "torch.distributed.run")


@pytest.mark.parametrize("page, blocks", RUN)
def test_the_commands_of_a_page_run(page: Path, blocks: list[Block], tmp_path) -> None:
    written = dict(files(page.read_text()))
    for name, text in written.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for block in blocks:
        if block.text in written.values():
            continue
        if block.language == "python":
            ran(python("-c", block.text, cwd=tmp_path), block.text)
        else:
            for command in block.commands():
                ran(done(command, block.added, tmp_path), command)


def ran(process: "subprocess.CompletedProcess[str]", command: str) -> None:
    assert process.returncode == 0, f"{command}\n{process.stdout}{process.stderr}"


def done(command: str, added: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    words = words_of(command)
    if words is not None:
        name, _ = split(words)
        trains = name in ("", *CONFIGURED) and "--help" not in words
        return python("-m", "harness", *words, *(added if trains else ()), cwd=folder)
    if command.startswith("torchrun "):
        arguments = [*command.split()[1:], *added]
        return subprocess.run(
            [sys.executable, *TORCHRUN, *arguments], cwd=folder, env=environment(),
            capture_output=True, text=True,
        )  # fmt: skip
    if command.startswith("python "):
        return python(*command.split()[1:], cwd=folder)
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment(), capture_output=True, text=True
    )
