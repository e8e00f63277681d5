"""Tests CropFlip by hand and against torchvision."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from harness.augmentation.crop_flip import CropFlip
from harness.vocabulary.counter_rng import uniforms

CENTRE, NO_FLIP, FLIP = 0.5, 0.9, 0.1  # 0.5: the middle of an odd number of shifts


def images(samples: int = 6) -> Tensor:
    return torch.rand(samples, 3, 8, 10, generator=torch.Generator().manual_seed(0))


def draws(samples: int = 6) -> Tensor:
    return uniforms(0, torch.arange(samples), CropFlip.draws)


def cropped(image: Tensor, padding: int, top: float, left: float, flip: float) -> list[list[int]]:
    drawn = torch.tensor([[top, left, flip]], dtype=torch.float64)
    result = CropFlip(padding).apply(image.view(1, 1, *image.shape), drawn)
    return result[0, 0].int().tolist()  # type: ignore[no-any-return]


def test_a_crop_moves_the_image_and_fills_with_zeros() -> None:
    image = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]])

    assert cropped(image, 1, CENTRE, CENTRE, NO_FLIP) == image.tolist()
    assert cropped(image, 1, 0.0, 0.0, NO_FLIP) == [[0, 0, 0], [0, 1, 2], [0, 4, 5]]
    assert cropped(image, 1, 0.0, CENTRE, NO_FLIP) == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert cropped(image, 1, 0.9, 0.4, NO_FLIP) == [[4, 5, 6], [7, 8, 9], [0, 0, 0]]
    assert cropped(image, 1, CENTRE, 0.9, NO_FLIP) == [[2, 3, 0], [5, 6, 0], [8, 9, 0]]


def test_a_flip_mirrors_left_to_right_after_the_crop() -> None:
    image = torch.tensor([[1, 2], [3, 4]])

    assert cropped(image, 0, 0.7, 0.2, FLIP) == [[2, 1], [4, 3]]
    assert cropped(image, 0, 0.7, 0.2, NO_FLIP) == [[1, 2], [3, 4]]
    assert cropped(image, 1, CENTRE, 0.0, FLIP) == [[1, 0], [3, 0]]


def test_images_may_be_wider_than_high_and_channels_stay_together() -> None:
    image = torch.tensor([[[1.0, 2, 3], [4, 5, 6]], [[10, 20, 30], [40, 50, 60]]])
    drawn = torch.tensor([[0.9, 0.0, FLIP]], dtype=torch.float64)  # one down, one to the left

    found = CropFlip(1).apply(image.unsqueeze(0), drawn)

    assert found[0].tolist() == [[[5, 4, 0], [0, 0, 0]], [[50, 40, 0], [0, 0, 0]]]


def test_each_of_the_nine_crops_comes_up_equally_often_and_each_flip_half_the_time() -> None:
    images = torch.arange(1, 10).view(1, 1, 3, 3).expand(9000, -1, -1, -1)
    drawn = uniforms(3, torch.arange(9000), CropFlip.draws)

    found = CropFlip(padding=1).apply(images, drawn)

    # 9 crops, each as it is and mirrored: 500 of each, give or take 5 standard deviations.
    _, crops = torch.unique(found.flatten(1), dim=0, return_counts=True)
    assert len(crops) == 18
    assert ((crops - 500).abs() < 5 * 500**0.5).all()


def test_the_largest_number_below_one_is_the_last_crop() -> None:
    largest = 1 - 2**-53
    for padding in range(40):
        image = torch.ones(1, 1, 1, 1)
        drawn = torch.full((1, 3), largest, dtype=torch.float64)
        assert CropFlip(padding).apply(image, drawn).shape == (1, 1, 1, 1)


def test_without_flip_and_padding_images_stay_as_they_are() -> None:
    assert torch.equal(CropFlip(padding=0, flip=False).apply(images(), draws()), images())


def test_without_flip_the_crops_are_the_same() -> None:
    drawn = draws()
    drawn[:, 2] = NO_FLIP
    one, other = (CropFlip(flip=flip).apply(images(), drawn) for flip in (True, False))
    assert torch.equal(one, other)


@pytest.mark.parametrize("padding", [-1, 10**6, 1.5, True, "4", None])
def test_a_padding_that_is_no_count_is_refused(padding) -> None:
    with pytest.raises(
        ValueError, match=r"padding must be a whole number in \[0, 256\], got .*write 0"
    ):
        CropFlip(padding=padding)  # type: ignore[arg-type]


@pytest.mark.parametrize("flip", [0.5, 1, "yes", None])
def test_a_flip_that_is_no_switch_is_refused(flip) -> None:
    with pytest.raises(ValueError, match="flip must be true or false, got"):
        CropFlip(flip=flip)  # type: ignore[arg-type]


def test_inputs_that_are_no_images_are_refused_by_their_shape() -> None:
    with pytest.raises(ValueError, match=r"crop_flip needs images .* shape \(6, 8\); choose"):
        CropFlip().apply(torch.zeros(6, 8), draws())


def test_reflection_mirrors_at_the_outermost_pixels_without_repeating_them() -> None:
    image = torch.tensor([[[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]])
    drawn = torch.tensor([[0.0, CENTRE, NO_FLIP]], dtype=torch.float64)
    found = CropFlip(1, fill="reflect").apply(image, drawn)
    assert found[0, 0].tolist() == [[4, 5, 6], [1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("fill", ["zero", "reflect"])
def test_a_crop_and_flip_are_those_of_torchvision_with_the_same_numbers(fill) -> None:
    inputs, drawn = images(30), draws(30)

    found = CropFlip(padding=2, fill=fill).apply(inputs, drawn)

    mode = {"zero": "constant", "reflect": "reflect"}[fill]
    padded = tv.pad(inputs, [2] * 4, padding_mode=mode)
    for image, (top, left, flip), result in zip(padded, drawn.tolist(), found, strict=True):
        wanted = tv.crop(image, int(5 * top), int(5 * left), 8, 10)
        assert torch.equal(result, tv.horizontal_flip(wanted) if flip < 0.5 else wanted)


def test_a_reflection_wider_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"padding=8 is too large for pictures of 8 x 10 .* 7"):
        CropFlip(padding=8, fill="reflect").apply(images(), draws())
