"""Tests the contracts of every augmentation, and CropFlip by hand."""

import pytest
import torch
from conftest import every
from torch import Tensor

from harness.augmentation.base import Augmentation
from harness.augmentation.crop_flip import CropFlip
from harness.vocabulary.counter_rng import uniforms

CENTRE, NO_FLIP, FLIP = 0.5, 0.9, 0.1  # 0.5: the middle of an odd number of shifts


def images(samples: int = 6, dtype: torch.dtype = torch.float32) -> Tensor:
    stream = torch.Generator().manual_seed(0)
    return (255 * torch.rand(samples, 3, 8, 10, generator=stream)).to(dtype)


def draws(augmentation: Augmentation, samples: int = 6, seed: int = 0) -> Tensor:
    return uniforms(seed, torch.arange(samples), augmentation.draws)


def cropped(image: Tensor, padding: int, top: float, left: float, flip: float) -> list[list[int]]:
    drawn = torch.tensor([[top, left, flip]], dtype=torch.float64)
    result = CropFlip(padding).apply(image.view(1, 1, *image.shape), drawn)
    return result[0, 0].int().tolist()  # type: ignore[no-any-return]


@every("augmentation")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.uint8])
def test_shape_dtype_and_device_stay(augmentation, dtype) -> None:
    inputs = images(dtype=dtype)
    found = augmentation.apply(inputs, draws(augmentation))
    assert (found.shape, found.dtype, found.device) == (inputs.shape, dtype, inputs.device)


@every("augmentation")
def test_arguments_are_left_unchanged(augmentation) -> None:
    inputs, drawn = images(), draws(augmentation)

    found = augmentation.apply(inputs, drawn)
    found.zero_()

    assert torch.equal(inputs, images())
    assert torch.equal(drawn, draws(augmentation))


@every("augmentation")
def test_equal_draws_give_equal_results_and_the_global_stream_plays_no_part(augmentation) -> None:
    drawn = draws(augmentation)
    torch.manual_seed(1)
    before = torch.get_rng_state()

    first = augmentation.apply(images(), drawn)

    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(augmentation.apply(images(), drawn), first)


@every("augmentation")
def test_other_draws_give_other_results(augmentation) -> None:
    one, other = (augmentation.apply(images(), draws(augmentation, seed=seed)) for seed in (0, 1))
    assert not torch.equal(one, other)


@every("augmentation")
def test_the_result_of_a_sample_does_not_depend_on_the_others_in_its_batch(augmentation) -> None:
    inputs, drawn = images(), draws(augmentation)
    whole = augmentation.apply(inputs, drawn)

    assert torch.equal(augmentation.apply(inputs.flip(0), drawn.flip(0)), whole.flip(0))
    for sample in range(len(inputs)):
        one = slice(sample, sample + 1)
        assert torch.equal(augmentation.apply(inputs[one], drawn[one]), whole[one])


@every("augmentation")
def test_no_samples_are_no_samples(augmentation) -> None:
    assert augmentation.apply(images(0), draws(augmentation, 0)).shape == (0, 3, 8, 10)


@every("augmentation")
def test_the_layout_in_memory_does_not_matter(augmentation) -> None:
    inputs, drawn = images(), draws(augmentation)
    last = inputs.to(memory_format=torch.channels_last)
    assert torch.equal(augmentation.apply(last, drawn), augmentation.apply(inputs, drawn))


@every("augmentation")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_gives_the_same_images(augmentation) -> None:
    inputs, drawn = images(), draws(augmentation)
    there = augmentation.apply(inputs.cuda(), drawn.cuda())
    assert torch.equal(there.cpu(), augmentation.apply(inputs, drawn))


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
    assert torch.equal(CropFlip(padding=0, flip=False).apply(images(), draws(CropFlip())), images())


def test_without_flip_the_crops_are_the_same() -> None:
    drawn = draws(CropFlip())
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
        CropFlip().apply(torch.zeros(6, 8), draws(CropFlip()))
