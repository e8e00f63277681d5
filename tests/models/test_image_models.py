"""Checks the convolutional models for small images: published sizes, and what they compute."""

from typing import Any

import pytest
import torch
import torchvision
from conftest import cases, component
from given_runs import last_record, of, prepared
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

import harness
from harness.groups.find import groups_of
from harness.metrics.macs import macs
from harness.models.conv_n import ConvN
from harness.models.densenet import DenseNet
from harness.models.mobilenet_v2 import MobileNetV2
from harness.models.resnet_18 import ResNet18
from harness.models.resnet_cifar import ResNetCifar
from harness.models.shared.residual import Block
from harness.models.vgg_bn import VggBn
from harness.models.wide_resnet import PreactivationBlock, WideResNet
from harness.vocabulary.tensors import prunable_weights

CIFAR, MNIST = (3, 32, 32), (1, 28, 28)
PROJECTED = ResNetCifar(0.125, shortcut="projection")
NARROW = (
    ResNetCifar(0.125), PROJECTED, ResNet18(0.125), VggBn(0.125), VggBn(0.125, 11),
    WideResNet(0.125, 16, 2), DenseNet(0.25, 10), MobileNetV2(0.125), ConvN(0.125), ConvN(0.125, 6),
)  # fmt: skip


def sizes(part: Any, shape: tuple[int, ...] = CIFAR) -> tuple[int, int, int]:
    """Returns prunable weights, parameters and multiply-accumulates."""
    with torch.device("meta"):
        model = part.build(shape, 10)
    weights = sum(weight.numel() for weight in prunable_weights(model).values())
    return weights, sum(p.numel() for p in model.parameters()), macs(model, shape, whole=True)


@cases(
    "name, weights, parameters, multiplied",
    ("resnet_20", 268_336, 269_722, 40_551_040),
    ("resnet_32", 461_872, 464_154, 68_862_592),
    ("resnet_44", 655_408, 658_586, 97_174_144),
    ("resnet_56", 848_944, 853_018, 125_485_696),
    ("resnet_110", 1_719_856, 1_727_962, 252_887_680),
    ("resnet_18", 11_164_352, 11_173_962, 555_422_720),
    ("vgg_11_bn", 9_222_848, 9_231_114, 152_769_536),
    ("vgg_16_bn", 14_715_584, 14_728_266, 313_201_664),
    ("vgg_19_bn", 20_024_000, 20_040_522, 398_136_320),
    ("wrn_16_8", 10_954_160, 10_961_370, 1_548_145_664),
    ("wrn_28_10", 36_461_232, 36_479_194, 5_243_328_768),
    ("densenet_40", 1_001_616, 1_019_722, 264_812_928),
    ("mobilenet_v2", 2_202_560, 2_236_682, 87_976_448),
    ("conv_2", 4_300_992, 4_301_642, 43_780_608),
    ("conv_4", 2_425_024, 2_425_930, 98_306_560),
    ("conv_6", 2_261_184, 2_262_602, 153_881_088),
)
def test_models_have_the_published_sizes(name, weights, parameters, multiplied) -> None:
    assert sizes(component("model", name)) == (weights, parameters, multiplied)


@cases("depth, weights, multiplied", (20, 270_896, 40_813_184), (56, 851_504, 125_747_840))
def test_projections_add_their_own_weights(depth, weights, multiplied) -> None:
    found, _, counted = sizes(ResNetCifar(depth=depth, shortcut="projection"))
    assert (found, counted) == (weights, multiplied)


# Millions of parameters: He et al. 2016, table 6; Zagoruyko & Komodakis 2016, table 4; Huang et
# al. 2017, table 2; weights of Frankle & Carbin 2019, figure 2.
@cases(
    "name, millions, digits",
    ("resnet_20", 0.27, 2), ("resnet_32", 0.46, 2), ("resnet_44", 0.66, 2), ("resnet_56", 0.85, 2),
    ("resnet_110", 1.7, 1), ("wrn_16_8", 11.0, 1), ("wrn_28_10", 36.5, 1), ("densenet_40", 1.0, 1),
    ("conv_2", 4.3, 1), ("conv_4", 2.4, 1),
)  # fmt: skip
def test_papers_print_the_same_size(name, millions, digits) -> None:
    assert round(sizes(component("model", name))[1] / 1e6, digits) == millions


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
    assert (
        sizes(ResNetCifar(0.25)) == (weights, parameters, multiplied) == (16_972, 17_326, 2_617_504)
    )


@cases("factor, channels", (1.0, 64), (0.25, 16), (0.3, 20), (0.001, 1), (2, 128))
def test_channels_are_rounded_up(factor, channels) -> None:
    with torch.device("meta"):
        for part in (ResNetCifar(factor), VggBn(factor), ResNet18(factor)):
            widest = next(reversed(prunable_weights(part.build(CIFAR, 10)).values())).shape[1]
            assert widest == part.channels(64 if isinstance(part, ResNetCifar) else 512)
    assert ResNetCifar(factor).channels(64) == channels


@cases("name", "resnet_18", "resnet_56", "vgg_19_bn", "wrn_28_10", "densenet_40", "conv_6")
def test_only_the_published_width_has_published_figures(name) -> None:
    assert component("model", name).published_as == name
    assert component("model", name, width_factor=0.25).published_as is None


@cases("part", ResNetCifar, ConvN)
@cases("factor", 0, -1, 17, True, "1", float("nan"), None)
def test_an_impossible_width_is_refused(part, factor) -> None:
    with pytest.raises(ValueError, match=r"^width_factor must be a number in \(0, 16\], got"):
        part(width_factor=factor)


def test_an_unknown_shortcut_is_refused() -> None:
    with pytest.raises(ValueError, match="^shortcut must be padding or projection, got 'B'"):
        ResNetCifar(shortcut="B")  # type: ignore


@cases(
    "part, fields, says",
    (ResNetCifar, {"depth": 21}, "depth must be 6 n [+] 2, as 20, 32, 44, 56 or 110, got 21"),
    (ResNetCifar, {"depth": 2}, r"depth must be a whole number in \[8, 1202\], got 2; 6 n [+] 2"),
    (WideResNet, {"depth": 27}, "depth must be 6 n [+] 4, as 16, 22, 28 or 40, got 27"),
    (WideResNet, {"widening": 0}, r"widening must be a whole number in \[1, 64\], got 0"),
    (DenseNet, {"depth": 41}, "depth must be 3 n [+] 4, as 40 or 100, got 41"),
    (VggBn, {"depth": 13}, "depth must be one of 11, 16, 19, got 13"),
    (ConvN, {"convolutions": 3}, "convolutions must be one of 2, 4, 6, got 3"),
)
def test_a_depth_that_the_architecture_does_not_have_is_refused(part, fields, says) -> None:
    with pytest.raises(ValueError, match=f"^{says}"):
        part(**fields)


def test_mobilenet_v2_is_torchvisions_with_stride_1_in_its_first_layers() -> None:
    torch.manual_seed(0)
    model = MobileNetV2().build(CIFAR, 10).eval()
    theirs = torchvision.models.mobilenet_v2(num_classes=10).eval()
    features = theirs.features
    for layer in (features[0][0], features[2].conv[1][0]):  # type: ignore
        layer.stride = (1, 1)
    ours = model.state_dict().values()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours, strict=True)))
    inputs = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(model(inputs), theirs(inputs))


def test_a_wide_block_adds_its_input_or_a_projection_of_the_activated_input() -> None:
    for block in (PreactivationBlock(2, 2, 1), PreactivationBlock(2, 3, 1)):
        nn.init.zeros_(block.conv2.weight)
        x = torch.randn(1, 2, 3, 3)
        active = block.eval().relu1(block.bn1(x))
        assert torch.equal(block(x), x if block.projection is None else block.projection(active))


def test_a_dense_layer_puts_its_channels_behind_its_input() -> None:
    model = DenseNet(0.25, 7).build(CIFAR, 10).eval()  # 4 channels, and 3 more of each layer
    x = torch.randn(1, 4, 5, 5)
    outputs = model.block1[0](x)  # type: ignore
    assert outputs.shape[1] == 7 and torch.equal(outputs[:, :4], x)


def test_conv_n_is_drawn_as_glorot_2010() -> None:
    torch.manual_seed(0)
    state = ConvN(convolutions=4).build(CIFAR, 10).state_dict()
    for name, fans in (("conv2", 9 * (64 + 64)), ("fc1", 128 * 64 + 256)):
        std = float(state[f"{name}.weight"].std())
        assert std == pytest.approx((2 / fans) ** 0.5, rel=0.02)
        assert not state[f"{name}.bias"].any()


@cases("part", *NARROW)
def test_half_of_every_group_is_cut_out_and_the_proof_holds(part) -> None:
    torch.manual_seed(0)
    model, inputs = part.build((3, 16, 16), 4), torch.randn(2, 3, 16, 16)
    masks = harness.prune(model, 0.5, structure="group", allocation="uniform", example_input=inputs)
    small = harness.compact(model, masks, inputs)
    before, after = (sum(p.numel() for p in each.parameters()) for each in (model, small))
    assert after < 0.6 * before
    torch.testing.assert_close(small.eval()(inputs), model.eval()(inputs), atol=1e-5, rtol=1e-4)


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
    model = VggBn().build(CIFAR, 10).eval()
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


@cases("part", ResNetCifar(), ResNet18(0.25), VggBn(0.25))
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
    groups = groups_of(ResNetCifar(0.25).build(MNIST, 10), torch.randn(2, *MNIST))
    assert [group.name for group in groups if group.pinned] == ["fc"]
    streams = {g.name: g.units for g in groups if any("bn2" in m.name for m in g.members)}
    # 4 channels of all stages, 4 more of the last two, 8 more of the last one.
    assert streams == {"conv1": 4, "layer2.0.conv2": 4, "layer3.0.conv2": 8}


@cases("part", ResNet18(0.125), VggBn(0.125), PROJECTED)
def test_every_channel_before_the_classifier_can_go(part) -> None:
    groups = groups_of(part.build(CIFAR, 10), torch.randn(2, *CIFAR))
    assert [group.name for group in groups if group.pinned] == ["fc"]


@cases("part", ResNetCifar(), ResNet18(), VggBn(), ConvN())
def test_what_no_memory_holds_is_refused_before_any_is_taken(part) -> None:
    with pytest.raises(ValueError, match=f"^{part.name_in_literature}: to train .* weights takes"):
        part.build(CIFAR, 10**12)


@cases("part, side", (ResNetCifar(), 1), (VggBn(), 16), (ConvN(convolutions=6), 8))
def test_what_is_no_image_or_too_small_is_refused_with_the_shape_wanted(part, side) -> None:
    name = part.name_in_literature
    for shape in ((8,), (28, 28), *([(1, side - 1, 28), (1, 28, side - 1)] if side > 1 else [])):
        with pytest.raises(ValueError, match=rf"^{name} needs images .* {side} x {side} pixels"):
            part.build(shape, 10)
    with pytest.raises(ValueError, match="classes must be at least 1, got 0"):
        part.build(CIFAR, 0)


@cases("part, channels", (ResNetCifar(0.25), 1), (ResNet18(0.125), 3), (VggBn(0.125), 1))
def test_a_run_of_one_epoch_prunes_filters(tmp_path, part, channels) -> None:
    def images(count: int) -> tuple[Tensor, Tensor]:
        drawn = torch.Generator().manual_seed(count)
        return torch.randn(count, channels, 16, 16, generator=drawn), torch.arange(count) % 3

    overrides = ("structure=filter", "schedule.unit=density", "schedule.final=0.5")
    record = last_record(prepared(tmp_path, of(images), part.build, *overrides))
    assert record.stage == "finetuned" and record.density == pytest.approx(0.5, abs=0.05)
    assert record.speedup is not None and record.speedup > 1
