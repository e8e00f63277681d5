"""What the README says is so: its commands compose, its table is complete, its example works."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from harness.launch.compose import compose_config
from harness.launch.paths import CONF
from harness.saliency.base import CalibrationData

README = (Path(__file__).parents[1] / "README.md").read_text()
LINES = [
    line.partition("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if "pruning-harness" in line or "-m harness" in line
]
TOOLS = [line for line in LINES if re.match(r"pruning-harness (?!-|sensitivity)[a-z]+( |$)", line)]
COMMANDS = [line for line in LINES if line not in TOOLS]
GROUPS = sorted({str(file.parent.relative_to(CONF)) for file in CONF.glob("*/**/*.yaml")})


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_composes(command) -> None:
    overrides = [word for word in shlex.split(command) if re.match(r"[\w.@/]+=", word)]
    overrides = [word for word in overrides if not word.startswith("--")]

    # Of a sweep the first point, of a search a number.
    overrides = [re.sub(r"=(tag|int|interval)\(.*", "=1", word) for word in overrides]
    assert compose_config([re.sub(r"=([^\[,]+),.*", r"=\1", word) for word in overrides])


@pytest.mark.parametrize("command", TOOLS)
def test_a_command_of_a_tool_has_options_that_the_tool_knows(command) -> None:
    _, name, *words = shlex.split(command)
    if words[0] == "plan":  # what follows is Hydra's
        assert compose_config(words[1:])
    else:
        importlib.import_module(f"harness.cli.{name}")._parser().parse_args(words)


def listed(group: str) -> set[str]:
    """The plain words that the row of a group sets in code."""
    (row,) = [line for line in README.splitlines() if re.match(rf"\| `{group}[`@]", line)]
    return set(re.findall(r"`(\w+)`", row.split(" | ", 1)[1]))


def choices(group: str) -> set[str]:
    return {file.stem for file in (CONF / group).glob("*.yaml")}


@pytest.mark.parametrize("group", GROUPS)
def test_what_the_table_lists_of_a_group_is_a_choice_or_a_key_of_one(group) -> None:
    texts = [file.read_text() for file in (CONF / group).glob("*.yaml")]
    keys = {key for text in texts for key in re.findall(r"^(?:  - override /)?(\w+):", text, re.M)}
    assert listed(group) & choices(group)
    assert listed(group) <= choices(group) | keys


def test_the_saliency_survey_has_every_saliency_and_allocation_of_the_table() -> None:
    survey = OmegaConf.load(CONF / "sweep" / "saliency_survey.yaml").hydra.sweeper.params
    names = [name.strip() for name in survey["method"].split(",")]
    assert len(names) == len(set(names)) and f"({len(names)} methods" in README
    # network_slimming needs BatchNorm: the README's second command of that sweep.
    chosen = [compose_config([f"method={name}", "model=lenet_5"]) for name in names]
    for group, missing in (("saliency", {"bn_scale"}), ("allocation", set())):
        modules = {cfg[group]._target_.split(".")[2] for cfg in chosen}
        assert (listed(group) & choices(group)) - modules == missing


def test_the_example_saliency_works_as_written() -> None:
    source = re.search(r"```python\n(# harness/saliency/squared.*?)```", README, re.DOTALL)
    assert source
    names: dict[str, object] = {}
    imports = (
        "from dataclasses import dataclass\n"
        "from harness.saliency.base import Saliency\n"
        "from harness.vocabulary.tensors import Tensors\n"
    )
    exec(imports + source.group(1), names)

    squared = names["Squared"]()  # type: ignore[operator]
    assert squared.statistics(CalibrationData(nn.Linear(1, 1), [], len, dict)) == {}
    assert squared.score({"w": torch.tensor([-3.0])}, {})["w"].item() == 9.0
