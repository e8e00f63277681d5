import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from harness.augmentation.cutout import Cutout
from harness.vocabulary.counter_rng import uniforms


def erased(length: int, row: float, column: float) -> Tensor:
    drawn = torch.tensor([[row, column]], dtype=torch.float64)
    return Cutout(length).apply(torch.ones(1, 1, 4, 4), drawn)[0, 0]


def test_a_square_around_the_centre_is_zero_and_is_cut_off_at_the_edges() -> None:
    assert erased(2, 0.5, 0.25).tolist() == [[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1]]
    assert erased(2, 0.0, 0.99).tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert erased(3, 0.0, 0.0).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]


def test_the_result_is_that_of_torchvisions_erase() -> None:
    inputs = torch.rand(20, 3, 8, 10, generator=torch.Generator().manual_seed(0)) + 1
    drawn = uniforms(1, torch.arange(20), 2)

    found = Cutout(4).apply(inputs, drawn)

    for image, (row, column), result in zip(inputs, drawn.tolist(), found, strict=True):
        top, left = int(8 * row) - 2, int(10 * column) - 2
        high, broad = min(top + 4, 8) - max(top, 0), min(left + 4, 10) - max(left, 0)
        zeros = torch.zeros(3, 1, 1)
        wanted = tv.erase(image, max(top, 0), max(left, 0), high, broad, zeros)
        assert torch.equal(result, wanted)


def test_each_pixel_is_erased_as_often_as_a_centre_drawn_anywhere_erases_it() -> None:
    samples = 8000
    drawn = uniforms(2, torch.arange(samples), 2)

    kept = Cutout(2).apply(torch.ones(1, 1, 4, 5).expand(samples, -1, -1, -1), drawn)

    counts = samples - kept.sum(dim=(0, 1))
    # 2 centres of 4 rows and 2 of 5 columns erase a pixel; 1 of them at the lower and right edge.
    rows, columns = torch.tensor([2, 2, 2, 1]) / 4, torch.tensor([2, 2, 2, 2, 1]) / 5
    shares = rows[:, None] * columns
    bound = 5 * (samples * shares * (1 - shares)).sqrt()  # standard deviations
    assert ((counts - samples * shares).abs() < bound).all()


def test_a_square_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"length=5 is too large for pictures of 4 x 4 .* 4"):
        erased(5, 0.5, 0.5)
    with pytest.raises(ValueError, match=r"cutout needs images .* shape \(1, 4\); choose"):
        Cutout(2).apply(torch.ones(1, 4), torch.zeros(1, 2).double())
