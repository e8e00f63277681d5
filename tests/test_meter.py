"""What a training costs while its masks change: 10 samples in batches of 4, so 4, 4 and 2."""

from harness.cost import Cost
from harness.training.meter import Meter


class Masks:
    """What they leave, and how often they were asked."""

    def __init__(self, live: int = 10):
        self.live, self.asked = live, 0

    def __call__(self) -> int:
        self.asked += 1
        return self.live


def meter(live: Masks, first: int = 0, taught: bool = False) -> Meter:
    return Meter(10, 4, first, dense=100, live=live, taught=taught)


def test_each_stretch_costs_what_the_masks_of_its_time_leave() -> None:
    masks = Masks(live=100)
    found = meter(masks)
    found.until(2)  # 8 examples
    masks.live = 10
    found.until(3)  # 2 more
    # 6 FLOPs per multiply-accumulate.
    assert found.take() == Cost(3, 10, flops=6 * 100 * 8 + 6 * 10 * 2, flops_dense=6 * 100 * 10)
    assert found.take() == Cost()


def test_the_first_step_may_be_inside_an_epoch() -> None:
    found = meter(Masks(), first=2)
    found.until(2)
    assert found.take().examples == 2 + 4


def test_a_stretch_that_is_over_costs_nothing_again() -> None:
    found = meter(Masks())
    found.until(2)
    found.until(2)
    found.until(1)
    assert found.take().steps == 2


def test_a_step_that_looks_costs_the_gradients_of_what_is_pruned_too() -> None:
    found = meter(Masks())
    found.looked(0)  # 4 examples
    found.looked(2)  # 2
    found.until(3)
    assert found.take().flops == 6 * 10 * 10 + 2 * (100 - 10) * (4 + 2)
    found.until(4)
    assert found.take().flops == 6 * 10 * 4


def test_masks_are_counted_once_a_stretch_however_often_it_looks() -> None:
    masks = Masks()
    found = meter(masks)
    for number in range(3):
        found.looked(number)
    found.until(3)
    assert masks.asked == 1


def test_a_meter_that_is_taken_up_in_the_middle_comes_to_the_same_cost() -> None:
    whole, cut, restarted = (meter(Masks()) for _ in range(3))
    for found in (whole, cut):
        found.until(1)
        found.looked(1)
    restarted.load(cut.state())
    for found in (whole, restarted):
        found.until(3)
    assert restarted.take() == whole.take() == Cost(3, 10, 6 * 10 * 10 + 2 * 90 * 4, 6000)


def test_a_teacher_looks_at_every_example() -> None:
    found = meter(Masks(), taught=True)
    found.until(3)
    assert found.take().flops == 6 * 10 * 10 + 2 * 100 * 10
