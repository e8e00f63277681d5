"""The stopwatch: steps take turns, and one round is one measurement."""

from collections.abc import Callable, Iterator

from harness.metrics.stopwatch import Stopwatch, interleaved, quartiles, ratios


class Clock:
    """Each step takes what it says."""

    def __init__(self) -> None:
        self.now, self.order = 0.0, ""

    def __call__(self) -> float:
        return self.now

    def step(self, name: str, *seconds: float) -> Callable[[], None]:
        each: Iterator[float] = iter(seconds)

        def run() -> None:
            self.now += next(each)
            self.order += name

        return run


def test_sides_take_turns_and_every_other_round_is_in_the_opposite_order() -> None:
    clock = Clock()
    sides = {"a": clock.step("a", 9, 4, 6), "b": clock.step("b", 9, 2, 2)}
    seconds = interleaved(sides, repeats=2, warm_up=1, clock=clock)
    assert seconds == {"a": [4, 6], "b": [2, 2]}
    assert clock.order == "abbaab"
    assert ratios(seconds["a"], seconds["b"]) == [2, 3]


def test_a_drift_that_slows_both_sides_leaves_their_ratio() -> None:
    clock = Clock()
    slower = [1.0, 2.0, 4.0, 8.0]
    sides = {
        "dense": clock.step("d", *(3 * each for each in slower)),
        "left": clock.step("l", *slower),
    }
    seconds = interleaved(sides, repeats=4, clock=clock)
    assert quartiles(ratios(seconds["dense"], seconds["left"])) == (3, 3, 3)


def test_a_slice_ends_after_its_time_and_the_next_one_continues() -> None:
    clock = Clock()
    watch = Stopwatch({"a": clock.step("a", 9, 1, 1, 1, 1)}, repeats=4, warm_up=1, clock=clock)
    slices = []
    while not watch.run_for(2):
        slices.append([*watch.seconds["a"]])
    assert slices == [[], [1, 1]]
    assert watch.seconds == {"a": [1, 1, 1, 1]}


def test_one_round_is_its_own_quartiles() -> None:
    assert (
        quartiles(interleaved({"a": Clock().step("a", 0)}, 1, clock=lambda: 3.0)["a"]) == (0,) * 3
    )
