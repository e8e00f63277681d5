"""Tests the contracts of every augmentation."""

import pytest
import torch
from conftest import every
from torch import Tensor

from harness.augmentation.base import Augmentation
from harness.augmentation.shared.on_pixels import with_scale
from harness.augmentation.shared.pixel_scale import PixelScale
from harness.vocabulary.counter_rng import uniforms

BYTES = PixelScale((0.0,) * 3, (1 / 255,) * 3)  # inputs are the pixels themselves


def images(samples: int = 6, dtype: torch.dtype = torch.float32) -> Tensor:
    stream = torch.Generator().manual_seed(0)
    return (255 * torch.rand(samples, 3, 20, 24, generator=stream)).to(dtype)


def draws(augmentation: Augmentation, samples: int = 6, seed: int = 0) -> Tensor:
    return uniforms(seed, torch.arange(samples), augmentation.draws)


def apply(augmentation: Augmentation, inputs: Tensor, drawn: Tensor) -> Tensor:
    return with_scale(augmentation, BYTES).apply(inputs, drawn)


@every("augmentation")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.uint8])
def test_shape_dtype_and_device_stay(augmentation, dtype) -> None:
    inputs = images(dtype=dtype)
    found = apply(augmentation, inputs, draws(augmentation))
    assert (found.shape, found.dtype, found.device) == (inputs.shape, dtype, inputs.device)


@every("augmentation")
def test_arguments_are_left_unchanged(augmentation) -> None:
    inputs, drawn = images(), draws(augmentation)

    found = apply(augmentation, inputs, drawn)
    found.zero_()

    assert torch.equal(inputs, images())
    assert torch.equal(drawn, draws(augmentation))


@every("augmentation")
def test_equal_draws_give_equal_results_and_the_global_stream_plays_no_part(augmentation) -> None:
    drawn = draws(augmentation)
    torch.manual_seed(1)
    before = torch.get_rng_state()

    first = apply(augmentation, images(), drawn)

    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(apply(augmentation, images(), drawn), first)


@every("augmentation")
def test_other_draws_give_other_results(augmentation) -> None:
    one, other = (apply(augmentation, images(), draws(augmentation, seed=seed)) for seed in (0, 1))
    assert not torch.equal(one, other)


@every("augmentation")
def test_the_result_of_a_sample_does_not_depend_on_the_others_in_its_batch(augmentation) -> None:
    inputs, drawn = images(), draws(augmentation)
    whole = apply(augmentation, inputs, drawn)

    assert torch.equal(apply(augmentation, inputs.flip(0), drawn.flip(0)), whole.flip(0))
    for sample in range(len(inputs)):
        one = slice(sample, sample + 1)
        assert torch.equal(apply(augmentation, inputs[one], drawn[one]), whole[one])


@every("augmentation")
def test_no_samples_are_no_samples(augmentation) -> None:
    assert apply(augmentation, images(0), draws(augmentation, 0)).shape == (0, 3, 20, 24)


@every("augmentation")
def test_the_layout_in_memory_does_not_matter(augmentation) -> None:
    inputs, drawn = images(), draws(augmentation)
    last = inputs.to(memory_format=torch.channels_last)
    assert torch.equal(apply(augmentation, last, drawn), apply(augmentation, inputs, drawn))


@every("augmentation")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_gives_the_same_images(augmentation) -> None:
    inputs, drawn = images(), draws(augmentation)
    there = apply(augmentation, inputs.cuda(), drawn.cuda())
    assert torch.equal(there.cpu(), apply(augmentation, inputs, drawn))
