import pytest
import torch
from conftest import cases

from harness.data.base import Split
from harness.data.calibration import Samples


def split(*labels: int) -> Split:
    return Split(torch.zeros(len(labels), 1), torch.tensor(labels))


def classes_of(chosen: torch.Tensor, data: Split, classes: int) -> list[int]:
    return torch.bincount(data.labels[chosen], minlength=classes).tolist()


def test_samples_are_shared_equally_between_the_classes() -> None:
    data = split(*[0] * 50, *[1] * 8, *[2] * 30)
    assert classes_of(Samples(12).indices(data, 3, seed=0), data, 3) == [4, 4, 4]
    # 14 = 3 x 4 + 2: of equal remainders the first classes win.
    assert classes_of(Samples(14).indices(data, 3, seed=0), data, 3) == [5, 5, 4]


def test_what_a_small_class_lacks_the_others_give() -> None:
    data = split(*[0] * 50, *[1] * 2, *[2] * 30)
    assert classes_of(Samples(12).indices(data, 3, seed=0), data, 3) == [5, 2, 5]


def test_so_many_of_each_class() -> None:
    data = split(*[0] * 50, *[1] * 8)
    assert classes_of(Samples(None, per_class=3).indices(data, 2, seed=0), data, 2) == [3, 3]


def test_unbalanced_samples_are_drawn_from_all() -> None:
    data = split(*[0] * 90, *[1] * 10)
    chosen = Samples(100, balanced=False).indices(data, 2, seed=0)
    assert sorted(chosen.tolist()) == list(range(100))


def test_samples_follow_from_the_seed_and_none_comes_twice() -> None:
    data = split(*[0, 1] * 40)
    one, again, other = (Samples(20).indices(data, 2, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert len(set(one.tolist())) == 20


def test_classes_are_mixed_so_that_every_rank_sees_several() -> None:
    data = split(*[0] * 40, *[1] * 40)
    first_half = Samples(40).indices(data, 2, seed=0)[:20]
    assert min(classes_of(first_half, data, 2)) > 3


def test_labels_of_several_positions_are_not_balanced() -> None:
    data = split(*[0] * 9)
    object.__setattr__(data, "labels", torch.zeros(9, 4, dtype=torch.int64))
    assert len(Samples(5).indices(data, 3, seed=0)) == 5
    with pytest.raises(ValueError, match="per_class needs one class per sample"):
        Samples(None, per_class=1).indices(data, 3, seed=0)


@cases(
    "fields, message",
    ({"samples": 0}, "^samples must be a whole number of at least 1 or null, got 0; an empty"),
    ({"samples": 2.5}, "^samples must be a whole number"),
    ({"samples": 5, "per_class": 1}, "one of samples and per_class"),
    ({"samples": None}, "one of samples and per_class"),
    ({"samples": None, "per_class": True}, "^per_class must be a whole number"),
    ({"balanced": 1}, "^balanced must be true or false, got 1"),
)
def test_senseless_numbers_are_refused(fields, message) -> None:
    with pytest.raises(ValueError, match=message):
        Samples(**fields)  # type: ignore[arg-type]


def test_more_samples_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="samples=6, but there are only 5"):
        Samples(6).indices(split(0, 1, 0, 1, 0), 2, seed=0)
    with pytest.raises(ValueError, match="per_class=3, but class 1 has only 2"):
        Samples(None, per_class=3).indices(split(0, 1, 0, 1, 0), 2, seed=0)
