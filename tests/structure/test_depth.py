"""Tests residual blocks: which are found, and that the network without them is the masked one."""

from pathlib import Path

import pytest
import torch
from conftest import component
from torch import Tensor, nn

import harness
from harness.groups.blocks import masked_blocks, residual_blocks, without_blocks
from harness.groups.network_size import macs_of, parameters_of
from harness.groups.units import masks_of
from harness.metrics.macs import count_macs
from harness.models.char_transformer import CharTransformer
from harness.models.lenet_5 import LeNet5
from harness.models.resnet_cifar import ResNetCifar
from harness.structure.depth import Depth

EXAMPLES = Path(__file__).parents[2] / "examples"
TEXT, PICTURES = torch.arange(12).view(2, 6), torch.randn(2, 3, 8, 8)


class Branch(nn.Module):
    """Adds f(x): of two convolutions with a norm, or of inverted kind, with dropout."""

    def __init__(self, width: int, inner: int, out: int | None = None) -> None:
        super().__init__()
        self.one, self.norm = nn.Conv2d(width, inner, 1), nn.BatchNorm2d(inner)
        self.two, self.drop = nn.Conv2d(inner, out or width, 1), nn.Dropout(0.5)

    def branch(self, x: Tensor) -> Tensor:
        return self.drop(self.two(self.norm(self.one(x)).relu()))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class Behind(Branch):
    def forward(self, x: Tensor) -> Tensor:
        return (x + self.branch(x)).relu()


class Dropped(Branch):
    def forward(self, x: Tensor) -> Tensor:
        return self.drop(x + self.branch(x))  # type: ignore[no-any-return]


class OnlyTraining(Branch):
    """Gives its input back in train mode alone, when its parameters are 0."""

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(x) + (x if self.training else 0)


class Twice(nn.Module):
    """Calls a module with positive numbers, then with negative ones, then with positive ones."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Behind(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.block(-self.block(x.relu())))  # type: ignore[no-any-return]


class Scaled(Branch):
    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x + self.branch(x)


class Reading(nn.Module):
    """Reads the width of its block."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.other = Branch(4, 6), Branch(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.block(x)) / self.block.one.in_channels  # type: ignore[no-any-return]


def around(*blocks: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), *blocks, nn.Flatten(), nn.Linear(256, 2))


def resnet() -> nn.Module:
    torch.manual_seed(0)
    return ResNetCifar(width_factor=0.25).build((3, 8, 8), 4)


def transformer() -> nn.Module:
    torch.manual_seed(0)
    return CharTransformer(width=8, heads=4, depth=3).build((6,), 12)


@pytest.mark.parametrize(
    ("blocks", "found"),
    [
        ([Branch(4, 6), nn.ReLU(), Behind(4, 2)], ["1", "3"]),
        ([Behind(4, 6)], []),  # of negative numbers too
        ([Branch(4, 6), Scaled(4, 3), Dropped(4, 3), Branch(4, 4)], ["1", "4"]),
        ([nn.Sequential(Branch(4, 6), Branch(4, 6))], ["1.0", "1.1"]),
        ([nn.Conv2d(4, 4, 1), nn.Identity(), Branch(4, 5)], ["3"]),
        ([OnlyTraining(4, 6), Twice()], []),
    ],
)
def test_a_block_gives_its_input_back_where_its_parameters_are_0(blocks, found) -> None:
    model = around(*blocks)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert [block.name for block in residual_blocks(model, PICTURES)] == found
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_blocks_that_a_network_cannot_do_without_stay() -> None:
    model = around(Reading(), Branch(4, 6), Branch(4, 6))
    model[3].two.weight = model[2].two.weight
    why = {block.name: block.pinned for block in residual_blocks(model, PICTURES)}
    assert why["1.block"] == "the model fails without it ('Identity' object has no attribute 'one')"
    assert why["1.other"] == "" and "is used outside as 3.two.weight" in why["2"]
    assert list(Depth().units(model, PICTURES)) == ["1.other.one.weight"]
    masks = {n: torch.zeros_like(p, dtype=torch.bool) for n, p in model[1].named_parameters("1")}
    assert masked_blocks(model, masks, PICTURES) == ("1.other",)
    assert not without_blocks(model.eval(), ["1.other"])[1].other.training


def test_blocks_of_shipped_models() -> None:
    names = [block.name for block in residual_blocks(resnet(), torch.randn(2, 3, 8, 8))]
    assert len(names) == 7  # of 9, two change the size
    assert list(Depth().units(transformer(), TEXT)) == [
        f"blocks.{number}.attention.query.weight" for number in range(3)
    ]
    with pytest.raises(ValueError, match="structure=depth has nothing to prune.*use structure=fi"):
        Depth().units(LeNet5().build((1, 28, 28), 10), torch.zeros(2, 1, 28, 28))


@pytest.mark.parametrize(("build", "inputs"), [(resnet, PICTURES), (transformer, TEXT)])
def test_the_network_without_blocks_is_the_masked_one_and_has_its_sizes(build, inputs) -> None:
    model = build().eval()
    units = component("structure", "depth").units(model, inputs)
    kept = {name: torch.tensor([number % 2 == 1]) for number, name in enumerate(units)}
    masks, dense = masks_of(units, kept, {}), count_macs(model, inputs[:1])
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)
    small = harness.compact(model, masks, inputs)
    assert torch.equal(small(inputs), model(inputs))
    gone = [each.block.name for name, each in units.items() if not kept[name]]
    assert gone and all(type(small.get_submodule(name)) is nn.Identity for name in gone)
    counts = {name: int(flags.sum()) for name, flags in kept.items()}
    assert parameters_of(model, units).left(counts) == sum(p.numel() for p in small.parameters())
    size = macs_of(model, units, dense.weights, dense.activations)
    assert size.left(counts) == count_macs(small, inputs[:1]).dense


def test_a_folder_of_a_network_without_blocks_is_read_with_and_without_the_harness(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    from read_compact import read_compact

    model = resnet().eval()
    masks = harness.prune(model, 0.5, structure="depth", example_input=PICTURES)
    gone = {name.rpartition(".conv1")[0] for name, mask in masks.items() if not mask.any()} - {""}
    small = harness.compact(model, masks, PICTURES, folder=tmp_path)
    for read in (harness.load_compact(tmp_path, resnet()), read_compact(tmp_path, resnet())):
        assert gone and all(type(read.get_submodule(name)) is nn.Identity for name in gone)
        assert torch.equal(read.eval()(PICTURES), small.eval()(PICTURES))


def test_blocks_and_units_of_groups_go_together() -> None:
    model = resnet().eval()
    units = Depth().units(model, PICTURES)
    first = next(iter(units))
    masks = masks_of({first: units[first]}, {first: torch.tensor([False])}, {})
    filters = component("structure", "filter").units(model, PICTURES)
    inner = next(name for name, each in filters.items() if each.count == 8 and first != name)
    masks |= masks_of({inner: filters[inner]}, {inner: torch.arange(8) < 5}, masks)
    small = harness.compact(model, masks, PICTURES)
    assert torch.allclose(small(PICTURES), _masked(model, masks)(PICTURES), atol=1e-5)
    assert len(small.get_parameter(inner)) == 5


def _masked(model: nn.Module, masks: dict[str, Tensor]) -> nn.Module:
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)
    return model
