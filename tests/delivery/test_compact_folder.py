"""A smaller model is read from its folder by the harness, and with torch and safetensors alone."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES, inputs_of
from conftest import HELPERS, ROOT
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import harness
from harness.delivery.compact_folder import describe, write_compact
from harness.groups.compact import compact_model
from harness.groups.find import groups_of
from harness.groups.group import group_masks
from harness.models.mlp import Mlp
from harness.pruning.removal.compaction import Cut

EXAMPLES = ROOT / "examples"
# Residual sums; groups of a convolution; a tied table, RMSNorms and fused heads; heads that are
# attributes.
NAMES = ("residual", "rms_norm", "separate_attention", "grouped")


@pytest.fixture(scope="module", name="home")
def fixture_home(tmp_path_factory) -> Path:
    """Returns a folder of folders: each network without every second unit, and what it computes."""
    home = tmp_path_factory.mktemp("compact")
    for name in NAMES:
        torch.manual_seed(0)
        model = ARCHITECTURES[name]()
        groups = groups_of(model, inputs_of(model))
        free = [group for group in groups if group.units > 1 and not group.pinned]
        kept = {group.name: torch.arange(group.units) % 2 == 0 for group in free}
        masks = group_masks(groups, kept, dict(model.named_parameters()))
        made = compact_model(model, masks, groups, inputs_of(model), "living")
        write_compact(home / name, describe(model, made.model, Cut.of(made)))
        outputs = made.model.eval()(inputs_of(model)).detach()
        save_file({"outputs": outputs}, home / name / "expected.safetensors")
        (home / name / "expected.txt").write_text(repr(made.model))
    return home


@pytest.mark.parametrize("name", NAMES)
def test_a_dense_model_becomes_the_smaller_one(home, name) -> None:
    torch.manual_seed(1)
    dense = ARCHITECTURES[name]().eval()
    before = repr(dense)
    small = harness.load_compact(home / name, dense)
    expected = load_file(home / name / "expected.safetensors")["outputs"]
    assert torch.equal(small(inputs_of(small)), expected)
    assert repr(small) == (home / name / "expected.txt").read_text() != before == repr(dense)


READER = """
import sys
sys.modules["harness"] = None  # as where it is not installed
import torch
from architectures import ARCHITECTURES, inputs_of
from read_compact import read_compact
from safetensors.torch import load_file
for folder in sys.argv[1:]:
    model = read_compact(folder, ARCHITECTURES[folder.rpartition("/")[2]]())
    outputs = load_file(folder + "/expected.safetensors")["outputs"]
    assert torch.allclose(model(inputs_of(model)), outputs, atol=1e-6), folder
    assert repr(model) == open(folder + "/expected.txt").read(), folder
model.train()(inputs_of(model)).sum().backward()
assert all(parameter.grad is not None for parameter in model.parameters())
try:
    read_compact(sys.argv[2], model)
except ValueError as error:
    print(error)
"""


def test_a_reader_of_sixty_lines_needs_torch_and_safetensors_alone(home) -> None:
    assert len((EXAMPLES / "read_compact.py").read_text().splitlines()) <= 60
    path = f"import sys; sys.path[:0] = {[str(EXAMPLES), str(HELPERS)]}\n"
    words = [sys.executable, "-c", path + READER, *(str(home / name) for name in NAMES)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "class: Language in the folder, Pictures here\n"


def small_mlp(folder: Path) -> nn.Module:
    torch.manual_seed(0)
    model = Mlp([6, 5]).build((8,), 4)
    inputs = torch.randn(2, 8)
    masks = harness.prune(model, 0.5, structure="neuron", example_input=inputs)
    return harness.compact(model, masks, inputs, folder=folder)


def test_the_facts_say_what_is_left_how_it_was_proven_and_by_which_versions(tmp_path) -> None:
    small = small_mlp(tmp_path)
    facts = json.loads((tmp_path / "compact.json").read_text())
    left = small.get_parameter("fc1.weight").shape[0]
    assert facts["format"] == 1 and facts["class"] == type(small).__qualname__
    assert facts["shapes"]["fc1.weight"] == [[6, 8], [left, 8]]
    assert facts["attributes"]["fc1.out_features"] == [6, left]
    assert len(facts["kept_indices"]["fc1.weight"][0]) == left < 6
    assert 0 <= facts["proof"]["eval"] < facts["proof"]["tolerance"]
    assert facts["versions"] == {"pruning-harness": harness.__version__, "torch": torch.__version__}
    assert len(facts["architecture"]) == len(facts["sha256"]) == 64


def loaded(folder: Path, model: nn.Module | None = None) -> str:
    with pytest.raises(ValueError) as caught:
        harness.load_compact(folder, model or Mlp([6, 5]).build((8,), 4))
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Other(nn.Sequential):
    """Is of another class."""


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: Mlp([6, 7]).build((8,), 4), "fc2.weight: shape (5, 6) in compact.json, shape (7"),
        (lambda: Mlp([6]).build((8,), 4), "fc2.weight: shape (5, 6) in compact.json, shape (4, 6)"),
        (lambda: Mlp([6, 5, 3]).build((8,), 4), "fc3.weight: shape (4, 5) in"),
        (lambda: Other(nn.Linear(2, 2)), "in compact.json, Other in the given Other; build the"),
    ],
)
def test_another_architecture_is_refused_by_its_first_difference(tmp_path, model, message) -> None:
    small_mlp(tmp_path)
    assert message in loaded(tmp_path, model())


def test_an_attribute_of_another_value_is_refused(tmp_path, home) -> None:
    model = ARCHITECTURES["separate_attention"]()
    model.layers[1].attention.num_heads = 3
    said = loaded(home / "separate_attention", model)
    assert said.startswith("layers.1.attention.num_heads: 4 in compact.json, 3 in the given")


class Block(nn.Module):
    """Adds to its input what two layers make of it."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 6), nn.Linear(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(self.one(x).relu())


def deep() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 8), Block(), Block(), nn.Linear(8, 3))


def test_a_removed_block_stays_away_with_either_reader(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    from read_compact import read_compact

    torch.manual_seed(0)
    model, inputs = deep(), torch.randn(2, 8)
    masks = {n: torch.zeros_like(p) for n, p in model.named_parameters() if n.startswith("1.")}
    small = harness.compact(model, masks, inputs, folder=tmp_path)
    for loaded_model in (harness.load_compact(tmp_path, deep()), read_compact(tmp_path, deep())):
        assert type(loaded_model[1]) is nn.Identity and type(loaded_model[2]) is Block
        assert torch.equal(loaded_model(inputs), small(inputs))


Facts = dict[str, Any]
DAMAGES: dict[str, Callable[[Facts], object]] = {
    "format=2, and this version reads 1": lambda facts: facts.update(format=2),
    "compact.json is damaged (KeyError('shapes'))": lambda facts: facts.pop("shapes"),
    "compact.json is damaged (IndexError": lambda facts: facts["kept_indices"].update(
        {"fc1.weight": [[99], None]}
    ),
    "fc1.weight has shape": lambda facts: facts["kept_indices"].pop("fc1.weight"),
    "fc9: 1 in compact.json": lambda facts: facts["attributes"].update({"fc1.fc9": [1, 2]}),
    "model.safetensors is damaged: its SHA-256": lambda facts: facts.update(sha256="0"),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_facts_that_are_damaged_are_refused(tmp_path, message) -> None:
    small_mlp(tmp_path)
    facts = json.loads((tmp_path / "compact.json").read_text())
    DAMAGES[message](facts)
    (tmp_path / "compact.json").write_text(json.dumps(facts))
    assert message in loaded(tmp_path)


@pytest.mark.parametrize("name", ["compact.json", "model.safetensors"])
def test_a_folder_without_a_file_is_refused(tmp_path, name) -> None:
    small_mlp(tmp_path)
    (tmp_path / name).unlink()
    assert f"{tmp_path} has no {name}; name the folder compact/" in loaded(tmp_path)


@pytest.mark.parametrize(
    ("model", "message"),
    [(nn.Linear(4, 3, device="meta"), "has no values, as it is on the meta"), (3, "got int")],
)
def test_what_cannot_take_the_stored_values_is_refused(tmp_path, model, message) -> None:
    with pytest.raises(ValueError, match=message):
        harness.load_compact(tmp_path, model)
