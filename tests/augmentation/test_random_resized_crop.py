import pytest
import torch
from conftest import cases
from torch import Tensor
from torchvision.transforms.v2 import RandomResizedCrop as Theirs
from torchvision.transforms.v2 import functional as tv

from harness.augmentation.random_resized_crop import RandomResizedCrop
from harness.vocabulary.counter_rng import uniforms


def drawn(samples: int, seed: int = 0) -> Tensor:
    return uniforms(seed, torch.arange(samples), RandomResizedCrop.draws)


def test_the_result_is_that_of_torchvisions_antialiased_crop_of_the_same_part() -> None:
    inputs = torch.rand(40, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    ours, draws = RandomResizedCrop(), drawn(40)

    found = ours.apply(inputs, draws)

    for image, box, result in zip(inputs, ours.boxes(draws, 20, 24).tolist(), found, strict=True):
        wanted = tv.resized_crop(image, *box, size=[20, 24], antialias=True)
        assert torch.allclose(result, wanted, atol=1e-5)


def test_boxes_are_distributed_as_those_of_torchvision() -> None:
    count, image = 2000, torch.zeros(3, 20, 32)
    torch.manual_seed(0)
    theirs_of = Theirs(20).make_params
    drawn_by_them = [theirs_of([image]) for _ in range(count)]
    theirs = torch.tensor(
        [[box[key] for key in ("top", "left", "height", "width")] for box in drawn_by_them]
    ).double()

    ours = RandomResizedCrop().boxes(drawn(count), 20, 32).double()

    for one, other in ((ours, theirs), (ours**2, theirs**2)):
        # The difference of two means, in standard deviations of it.
        spread = ((one.var(dim=0) + other.var(dim=0)) / count).sqrt()
        assert ((one.mean(dim=0) - other.mean(dim=0)).abs() < 5 * spread).all()


@cases("name, shape, ratio", ("high", (8, 40), [0.75, 1.25]), ("wide", (40, 8), [0.75, 1.25]))
def test_where_no_part_fits_the_largest_one_in_the_middle_is_taken(name, shape, ratio) -> None:
    whole = {"scale": [1.0, 1.0], "ratio": ratio}
    theirs = Theirs(20, scale=(1.0, 1.0), ratio=tuple(ratio)).make_params([torch.zeros(3, *shape)])
    found = RandomResizedCrop(**whole).boxes(drawn(3), *shape)
    assert found.tolist() == [[theirs[key] for key in ("top", "left", "height", "width")]] * 3


def test_the_whole_image_stays_as_it_is() -> None:
    inputs = torch.rand(4, 1, 9, 9)
    whole = RandomResizedCrop(scale=[1.0, 1.0], ratio=[1.0, 1.0])
    assert torch.allclose(whole.apply(inputs, drawn(4)), inputs, atol=1e-6)


@cases(
    "key, value", ("scale", [0.5]), ("scale", [0.9, 0.1]), ("ratio", [2, 1]), ("ratio", [1, 2, 3])
)
def test_limits_that_are_no_rising_pair_are_refused(key, value) -> None:
    with pytest.raises(ValueError, match=f"{key} must be two numbers, the smaller one first, got"):
        RandomResizedCrop(**{key: value})
