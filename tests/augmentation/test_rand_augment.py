"""Tests RandAugment's operations, pixel by pixel, against torchvision's functions."""

import math
from collections.abc import Callable

import pytest
import torch
from conftest import cases
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from harness.augmentation.compose import Compose
from harness.augmentation.crop_flip import CropFlip
from harness.augmentation.rand_augment import NAMES, OPERATIONS, RandAugment
from harness.augmentation.shared.on_pixels import with_scale
from harness.augmentation.shared.pixel_scale import PixelScale, pixel_scale_of
from harness.vocabulary.counter_rng import uniforms

SCALE = PixelScale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def pictures(channels: int = 3) -> Tensor:
    stream = torch.Generator().manual_seed(0)
    found = (torch.rand(5, channels, 37, 50, generator=stream) ** 2 * 256).byte()
    found[0] = found[0] // 2 + 30  # of little contrast
    found[1] = 77  # of one value
    return found


def affine(image: Tensor, x: float = 0, y: float = 0, centre: object = None, **more) -> Tensor:
    degrees = [math.degrees(math.atan(value)) for value in (x, y)]
    return tv.affine(image, 0.0, more.get("by", [0, 0]), 1.0, degrees, center=centre)


# As torchvision's RandAugment calls its functions: (lowest, highest magnitude), function.
THEIRS: dict[str, tuple[float, float, Callable[[Tensor, float], Tensor]]] = {
    "shear_x": (0, 0.3, lambda image, m: affine(image, x=m, centre=[0, 0])),
    "shear_y": (0, 0.3, lambda image, m: affine(image, y=m, centre=[0, 0])),
    "translate_x": (0, 150 / 331 * 50, lambda image, m: affine(image, by=[int(m), 0])),
    "translate_y": (0, 150 / 331 * 37, lambda image, m: affine(image, by=[0, int(m)])),
    "rotate": (0, 30, tv.rotate),
    "brightness": (0, 0.9, lambda image, m: tv.adjust_brightness(image, 1 + m)),
    "color": (0, 0.9, lambda image, m: tv.adjust_saturation(image, 1 + m)),
    "contrast": (0, 0.9, lambda image, m: tv.adjust_contrast(image, 1 + m)),
    "sharpness": (0, 0.9, lambda image, m: tv.adjust_sharpness(image, 1 + m)),
    "posterize": (8, 4, lambda image, m: tv.posterize(image, round(m))),
    "solarize": (255, 0, tv.solarize),
    "autocontrast": (0, 0, lambda image, m: tv.autocontrast(image)),
    "equalize": (0, 0, lambda image, m: tv.equalize(image)),
}
ONE_DIRECTION = ("posterize", "solarize", "autocontrast", "equalize")


@pytest.mark.parametrize("name", NAMES[1:])
@cases("channels", 3, 1)
def test_every_pixel_is_that_of_torchvision(name, channels) -> None:
    lowest, highest, theirs = THEIRS[name]
    images = pictures(channels)
    for magnitude in (0, 9, 30):
        value = float(torch.linspace(lowest, highest, 31)[magnitude])
        for sign in (1.0,) if name in ONE_DIRECTION else (1.0, -1.0):
            found = OPERATIONS[name](images, torch.full((5,), sign), magnitude)
            assert torch.equal(found, torch.stack([theirs(each, sign * value) for each in images]))


def test_the_first_draw_chooses_the_operation_and_the_second_its_direction() -> None:
    images = pictures()
    for number, name in enumerate(NAMES[1:], start=1):
        drawn = torch.tensor([[(number + 0.5) / 14, 0.4], [(number + 0.5) / 14, 0.6]]).double()
        found = RandAugment(operations=1).apply(images[2:4], drawn)
        wanted = OPERATIONS[name](images[2:4], torch.tensor([-1.0, 1.0]), 9)
        assert torch.equal(found, wanted)
    assert torch.equal(RandAugment(1).apply(images, torch.zeros(5, 2).double()), images)


def test_operations_follow_one_another() -> None:
    drawn = torch.tensor([[10.5 / 14, 0.0, 11.5 / 14, 0.0]]).double()  # posterize, solarize
    image = torch.tensor([[[[0, 100, 255]]]], dtype=torch.uint8)

    found = RandAugment(magnitude=30).apply(image, drawn)

    # 4 bits: 0, 96, 240. From 255 * 0 on: 255 - value.
    assert found.flatten().tolist() == [255, 159, 15]


def test_each_operation_and_direction_comes_up_equally_often() -> None:
    samples = 14_000
    drawn = uniforms(5, torch.arange(samples), 4)
    for number in (0, 2):
        counts = torch.bincount((drawn[:, number] * 14).long(), minlength=14)
        assert ((counts - 1000).abs() < 5 * (1000 * 13 / 14) ** 0.5).all()
        assert abs(int((drawn[:, number + 1] < 0.5).sum()) - 7000) < 5 * 3500**0.5


def test_normalised_inputs_are_changed_as_their_pixels_are() -> None:
    images, drawn = pictures(), uniforms(0, torch.arange(5), 4)
    inputs = SCALE.inputs_of(images, like=torch.zeros(0))

    found = with_scale(RandAugment(), SCALE).apply(inputs, drawn)

    changed = RandAugment().apply(images, drawn)
    assert torch.equal(found, SCALE.inputs_of(changed, like=inputs))
    assert torch.equal(SCALE.pixels_of(inputs), images)
    unchanged = (changed == images).all(dim=(1, 2, 3))
    assert torch.equal(found[unchanged], inputs[unchanged])


def test_parts_of_a_composition_get_the_scale_and_draws_of_their_own() -> None:
    inputs = SCALE.inputs_of(pictures(), like=torch.zeros(0))
    drawn = uniforms(0, torch.arange(5), 7)

    found = with_scale(Compose([CropFlip(), RandAugment()]), SCALE).apply(inputs, drawn)

    first = CropFlip().apply(inputs, drawn[:, :3])
    assert torch.equal(found, with_scale(RandAugment(), SCALE).apply(first, drawn[:, 3:]))


def test_inputs_of_an_unknown_scale_or_of_four_channels_are_refused() -> None:
    for augmentation in (RandAugment(), Compose([CropFlip(), RandAugment()])):
        with pytest.raises(ValueError, match="rand_augment needs the pixels .* mean and std"):
            with_scale(augmentation, None)
    with pytest.raises(ValueError, match=r"rand_augment needs pixels .* 1 or 3 channels, got"):
        RandAugment().apply(torch.zeros(1, 4, 8, 8, dtype=torch.uint8), torch.zeros(1, 4).double())
    assert pixel_scale_of(object()) is None
