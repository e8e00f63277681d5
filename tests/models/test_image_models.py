"""Checks the convolutional models for small images: published sizes, and what they compute."""

from typing import Any

import pytest
import torch
import torchvision
from conftest import cases, component
from given_runs import last_record, of, prepared
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from harness.groups.find import groups_of
from harness.metrics.macs import macs
from harness.models.resnet_18 import ResNet18
from harness.models.resnet_20 import ResNet20
from harness.models.shared.residual import Block
from harness.models.vgg_16_bn import Vgg16Bn
from harness.vocabulary.tensors import prunable_weights

CIFAR, MNIST = (3, 32, 32), (1, 28, 28)
PROJECTED = ResNet20(shortcut="projection")
NARROW = ResNet20(0.125), ResNet20(0.125, "projection"), ResNet18(0.125), Vgg16Bn(0.125)


def sizes(part: Any, shape: tuple[int, ...] = CIFAR) -> tuple[int, int, int]:
    """Returns prunable weights, parameters and multiply-accumulates."""
    with torch.device("meta"):
        model = part.build(shape, 10)
    weights = sum(weight.numel() for weight in prunable_weights(model).values())
    return weights, sum(p.numel() for p in model.parameters()), macs(model, shape, whole=True)


@cases(
    "part, weights, parameters, multiplied",
    (ResNet20(), 268_336, 269_722, 40_551_040),
    (PROJECTED, 270_896, 272_474, 40_813_184),
    (ResNet18(), 11_164_352, 11_173_962, 555_422_720),
    (Vgg16Bn(), 14_715_584, 14_728_266, 313_201_664),
)
def test_models_have_the_published_sizes(part, weights, parameters, multiplied) -> None:
    assert sizes(part) == (weights, parameters, multiplied)


def test_resnet_18_has_the_size_on_imagenet_but_for_its_first_and_last_layer() -> None:
    weights, _, multiplied = sizes(ResNet18())
    assert weights == 11_678_912 - 64 * 3 * (7 * 7 - 3 * 3) - 512 * (1_000 - 10)
    # A 7x7 convolution of 112 x 112 positions; then 56 x 56 positions where there are 32 x 32 here.
    between = 1_814_073_344 - 64 * 3 * 7 * 7 * 112**2 - 512_000
    assert multiplied == between * 32**2 // 56**2 + 64 * 3 * 3 * 3 * 32**2 + 512 * 10


def test_a_quarter_of_the_width_follows_from_the_layers() -> None:
    stages = [3 * 4 * 9 + 6 * 4 * 4 * 9, 4 * 8 * 9 + 5 * 8 * 8 * 9, 8 * 16 * 9 + 5 * 16 * 16 * 9]
    weights = sum(stages) + 16 * 10
    parameters = weights + 2 * (7 * 4 + 6 * 8 + 6 * 16) + 10
    multiplied = stages[0] * 32**2 + stages[1] * 16**2 + stages[2] * 8**2 + 160
    assert sizes(ResNet20(0.25)) == (weights, parameters, multiplied) == (16_972, 17_326, 2_617_504)


@cases("factor, channels", (1.0, 64), (0.25, 16), (0.3, 20), (0.001, 1), (2, 128))
def test_channels_are_rounded_up(factor, channels) -> None:
    with torch.device("meta"):
        for part in (ResNet20(factor), Vgg16Bn(factor), ResNet18(factor)):
            widest = next(reversed(prunable_weights(part.build(CIFAR, 10)).values())).shape[1]
            assert widest == part.channels(64 if isinstance(part, ResNet20) else 512)
    assert ResNet20(factor).channels(64) == channels


@cases("name", "resnet_18", "resnet_20", "vgg_16_bn")
def test_only_the_published_width_has_published_figures(name) -> None:
    assert component("model", name).published_as == name
    assert component("model", name, width_factor=0.25).published_as is None


@cases("part", ResNet20, ResNet18, Vgg16Bn)
@cases("factor", 0, -1, 17, True, "1", float("nan"), None)
def test_an_impossible_width_is_refused(part, factor) -> None:
    with pytest.raises(ValueError, match=r"^width_factor must be a number in \(0, 16\], got"):
        part(width_factor=factor)


def test_an_unknown_shortcut_is_refused() -> None:
    with pytest.raises(ValueError, match="^shortcut must be padding or projection, got 'B'"):
        ResNet20(shortcut="B")  # type: ignore


def test_resnet_18_computes_what_torchvisions_does_with_another_stem() -> None:
    torch.manual_seed(0)
    model = ResNet18().build(CIFAR, 10).eval()
    theirs = torchvision.models.resnet18(num_classes=10)
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    state = {n.replace("shortcut", "downsample"): p for n, p in model.state_dict().items()}
    theirs.load_state_dict(state)
    inputs = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(model(inputs), theirs.eval()(inputs))


def test_vgg_computes_what_torchvisions_layers_do_without_the_last_pooling() -> None:
    torch.manual_seed(0)
    model = Vgg16Bn().build(CIFAR, 10).eval()
    *layers, _ = make_layers(cfgs["D"], batch_norm=True)
    features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    theirs = nn.Sequential(*features, nn.Linear(512, 10)).eval()
    ours = model.state_dict().values()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours, strict=True)))
    inputs = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(model(inputs), theirs(inputs))


def test_a_padded_shortcut_is_every_other_pixel_and_zeros_behind() -> None:
    block = Block(2, 5, 2, "padding").eval()
    nn.init.zeros_(block.bn2.weight)
    nn.init.constant_(block.bn2.bias, 0.5)  # so all of the residual is 0.5
    x = torch.arange(1.0, 31.0).view(1, 2, 3, 5)
    wanted = torch.full((1, 5, 2, 3), 0.5)
    wanted[0, 0] += torch.tensor([[1.0, 3.0, 5.0], [11.0, 13.0, 15.0]])
    wanted[0, 1] = wanted[0, 0] + 15
    assert torch.equal(block(x), wanted)
    assert list(block.shortcut.parameters()) == []


def test_a_shortcut_between_equal_shapes_is_the_input() -> None:
    for kind in ("padding", "projection"):
        assert isinstance(Block(3, 3, 1, kind).shortcut, nn.Identity)  # type: ignore


@cases("part", ResNet20(), ResNet18(0.25), Vgg16Bn(0.25))
def test_convolutions_are_drawn_as_he_2015_from_the_seed(part) -> None:
    def drawn(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return part.build(CIFAR, 10).state_dict()

    one, same, other = drawn(0), drawn(0), drawn(1)
    assert all(torch.equal(one[name], same[name]) for name in one)
    widest = max(one, key=lambda name: one[name].numel())
    assert not torch.equal(one[widest], other[widest])
    assert float(one[widest].std()) == pytest.approx((2 / (len(one[widest]) * 9)) ** 0.5, rel=0.02)
    assert all(not one[n].any() for n in one if n.startswith("conv") and n.endswith("bias"))


@cases("channels", 1, 3)
@cases("part", *NARROW)
def test_the_smallest_images_are_answered_and_train(part, channels) -> None:
    side = part.smallest
    model = part.build((channels, side, side), 4)
    outputs = model(torch.randn(2, channels, side, side))
    assert outputs.shape == (2, 4)
    outputs.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_streams_that_are_added_lose_the_same_channels_and_padding_pins_none() -> None:
    groups = groups_of(ResNet20(0.25).build(MNIST, 10), torch.randn(2, *MNIST))
    assert [group.name for group in groups if group.pinned] == ["fc"]
    streams = {g.name: g.units for g in groups if any("bn2" in m.name for m in g.members)}
    # 4 channels of all stages, 4 more of the last two, 8 more of the last one.
    assert streams == {"conv1": 4, "layer2.0.conv2": 4, "layer3.0.conv2": 8}


@cases("part", ResNet18(0.125), Vgg16Bn(0.125), ResNet20(0.125, "projection"))
def test_every_channel_before_the_classifier_can_go(part) -> None:
    groups = groups_of(part.build(CIFAR, 10), torch.randn(2, *CIFAR))
    assert [group.name for group in groups if group.pinned] == ["fc"]


@cases("part", ResNet20, ResNet18, Vgg16Bn)
def test_what_no_memory_holds_is_refused_before_any_is_taken(part) -> None:
    with pytest.raises(ValueError, match=f"^{part.name_in_literature}: to train .* weights takes"):
        part().build(CIFAR, 10**12)


@cases("part, side", (ResNet20(), 1), (ResNet18(), 1), (Vgg16Bn(), 16))
def test_what_is_no_image_or_too_small_is_refused_with_the_shape_wanted(part, side) -> None:
    name = part.name_in_literature
    for shape in ((8,), (28, 28), *([(1, 15, 28), (1, 28, 15)] if side > 1 else [])):
        with pytest.raises(ValueError, match=rf"^{name} needs images .* {side} x {side} pixels"):
            part.build(shape, 10)
    with pytest.raises(ValueError, match="classes must be at least 2, got 1"):
        part.build(CIFAR, 1)


@cases("part, channels", (ResNet20(0.25), 1), (ResNet18(0.125), 3), (Vgg16Bn(0.125), 1))
def test_a_run_of_one_epoch_prunes_filters(tmp_path, part, channels) -> None:
    def images(count: int) -> tuple[Tensor, Tensor]:
        drawn = torch.Generator().manual_seed(count)
        return torch.randn(count, channels, 16, 16, generator=drawn), torch.arange(count) % 3

    overrides = ("structure=filter", "schedule.unit=density", "schedule.final=0.5")
    record = last_record(prepared(tmp_path, of(images), part.build, *overrides))
    assert record.stage == "finetuned" and record.density == pytest.approx(0.5, abs=0.05)
    assert record.speedup is not None and record.speedup > 1
