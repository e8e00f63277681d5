"""Tests why a smaller network is slow: networks made slow on purpose, on a clock that we move."""

from collections.abc import Callable, Generator
from math import ceil

import torch
from conftest import cases
from torch import Tensor, nn

import harness
from harness.allocation.uniform import Uniform
from harness.metrics.layer_times import explain_slow_pass, vector_width
from harness.metrics.macs import count_macs
from harness.metrics.slow_layers import LayerTime, SlowPass
from harness.structure.filter import Filter

Cost = Callable[[nn.Module, Tensor, Tensor], float]
PACK = vector_width(torch.zeros(1))


class Clock:
    """Tells the seconds that modules were said to take."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def drive(self, model: nn.Module, cost: Cost) -> None:
        """Lets each call of a layer take what the cost says."""

        def tick(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
            self.now += cost(module, inputs[0], out)

        for module in model.modules():
            if not list(module.children()):
                module.register_forward_hook(tick)

    def time(self, model: nn.Module, inputs: Tensor) -> float:
        since = self.now
        model(inputs)
        return self.now - since


def network() -> nn.Sequential:
    torch.manual_seed(0)
    wide = 4 * PACK
    return nn.Sequential(
        nn.Conv2d(3, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU(),
        nn.Conv2d(wide, wide, 3, padding=1), nn.ReLU(),
        nn.Conv2d(wide, wide, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(wide, 4),
    ).eval()  # fmt: skip


INPUTS = torch.randn(4, 3, 6, 6)


def macs(module: nn.Module, inputs: Tensor, out: Tensor) -> float:
    """Takes one second for each multiply-accumulate."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        return module.weight.numel() * out[:, :1].numel()
    return 0.0


def packed(module: nn.Module, inputs: Tensor, out: Tensor) -> float:
    """Computes widths in whole packs."""
    if not isinstance(module, nn.Conv2d):
        return macs(module, inputs, out)
    rows, columns = (ceil(n / PACK) * PACK for n in module.weight.shape[:2])
    return rows * columns * module.weight[0, 0].numel() * out[:, :1].numel()


def with_elementwise(module: nn.Module, inputs: Tensor, out: Tensor) -> float:
    """Takes thousands of seconds for each number of a norm or an activation."""
    return macs(module, inputs, out) or (9_000.0 * out.numel() if out.dim() == 4 else 0.0)


def with_calls(module: nn.Module, inputs: Tensor, out: Tensor) -> float:
    return macs(module, inputs, out) + 3e6


def why(cost: Cost, keep: dict[str, int]) -> str | None:
    dense, clock = network(), Clock()
    small = network()
    masks = harness.prune(
        small, keep=keep, structure=Filter(), allocation=Uniform(), example_input=INPUTS
    )
    left = harness.compact(small, masks, INPUTS).eval()
    theoretical = count_macs(dense, INPUTS[:1]).dense / count_macs(left, INPUTS[:1]).dense
    for model in (dense, left):
        clock.drive(model, cost)
    measured = clock.time(dense, INPUTS) / clock.time(left, INPUTS)
    return result(explain_slow_pass(dense, left, INPUTS, (measured, theoretical), clock))


def result(steps: Generator[None, None, str | None]) -> str | None:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return str(end.value) if end.value is not None else None


HALF = {f"{number}.weight": 2 * PACK for number in (0, 3, 5)}
ODD = {f"{number}.weight": 2 * PACK + 1 for number in (0, 3, 5)}


def test_a_network_whose_time_falls_with_its_products_needs_no_reason() -> None:
    assert why(macs, HALF) is None


@cases(
    "cost, keep, cause, remedy",
    (
        packed,
        ODD,
        f"into widths that are no multiple of {PACK}: {2 * PACK + 1} (most in ",
        f"use structure.round_to={PACK}",
    ),
    (
        with_elementwise,
        HALF,
        "into norms, activations and pooling (most in 1)",
        "latency.runtimes=[compile]",
    ),
    (with_calls, HALF, "into what calls cost whatever the batch, now 4", "use a larger batch"),
    ids=["odd widths", "elementwise", "per call"],
)
def test_a_network_made_slow_on_purpose_is_told_by_its_cause(cost, keep, cause, remedy) -> None:
    line = why(cost, keep)
    assert line and "\n" not in line
    assert line.index("into ") == line.index(cause)  # the first that is named
    assert remedy in line


def test_layers_that_did_not_shrink_are_named_with_the_largest() -> None:
    def slow_head(module: nn.Module, inputs: Tensor, out: Tensor) -> float:
        return (
            macs(module, inputs, out) * (40 if module.weight.shape[1] == 3 else 1)
            if isinstance(module, nn.Conv2d)
            else 0.0
        )

    # The first convolution stays whole, and is slow: its input is not cut.
    line = why(slow_head, {"3.weight": PACK, "5.weight": PACK})
    assert line is not None and "into layers that did not shrink (most in 0)" in line
    assert line.endswith("prune these too (exclude fewer layers, or structure=group)")


def test_each_second_has_one_cause_and_shares_are_of_the_smaller_model() -> None:
    layers = [
        # 2 of its 4 seconds do not grow with the batch: 2 x 4 - 6.
        LayerTime("a", "products", 4.0, 4.0, 6.0, dense_macs=100, left_macs=100),
        LayerTime("b", "products", 4.0, 3.0, 6.0, dense_macs=100, left_macs=25, odd=(5,)),
        LayerTime("c", "products", 4.0, 1.0, 2.0, dense_macs=100, left_macs=25, odd=(5,)),
        LayerTime("n", "elementwise", 2.0, 1.0, 2.0),
        LayerTime("", "outside", 1.0, 1.0, 2.0),
    ]
    slow = SlowPass(layers, measured=1.5, theoretical=3.0, batch_size=1, vector_width=4)
    found = {each.cause: (each.share, each.largest) for each in slow.shares}
    assert found == {
        "odd": (0.3, "b"),
        "whole": (0.2, "a"),
        "per call": (0.2, "a"),
        "elementwise": (0.1, "n"),
        "outside": (0.1, ""),
    }
    assert slow.why == (
        "0.50 of the theoretical speed-up of 3: its time goes 30% into widths that are no multiple "
        "of 4: 5 (most in b), 20% into what calls cost whatever the batch, now 1 (most in a), 20% "
        "into layers that did not shrink (most in a), 10% into norms, activations and pooling "
        "(most in n), 10% into operators outside of layers (most in the model itself); use "
        "structure.round_to=4"
    )


def test_products_that_run_slower_in_multiples_are_named_as_narrow() -> None:
    layer = LayerTime("a", "products", 4.0, 3.0, dense_macs=100, left_macs=25)
    assert layer.cause == "narrow"
    # 0.86 of the dense rate.
    assert LayerTime("a", "products", 4.0, 1.16, dense_macs=100, left_macs=25).cause is None


@cases("measured, theoretical", (2.1, 3.0), (1.0, 1.0), (3.0, 2.0))
def test_from_0_7_of_the_theoretical_speedup_nothing_is_said(measured, theoretical) -> None:
    assert SlowPass((), measured, theoretical, 1, 8).why is None
    model = network()
    steps = explain_slow_pass(model, model, INPUTS, (measured, theoretical), never)
    assert result(steps) is None


def never() -> float:
    raise AssertionError("nothing is timed")


def test_masks_alone_are_said_to_make_nothing_faster() -> None:
    model = network()
    line = result(explain_slow_pass(model, model, INPUTS, (1.0, 4.0), Clock()))
    assert line is not None and line.endswith("cut them out with compact=levels")


def test_modules_inside_of_one_with_weights_are_no_part_of_its_time() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x, x, x)[0].relu()

    dense, left = Attention().eval(), Attention().eval()
    with torch.no_grad():
        left.inner.out_proj = nn.Linear(8, 8)
    line = result(explain_slow_pass(dense, left, torch.randn(2, 3, 8), (1.0, 4.0)))
    assert line is not None  # on the wall clock


def test_a_pass_on_the_wall_clock_has_a_reason_and_leaves_no_hooks() -> None:
    dense, small = network(), network()
    masks = harness.prune(small, 0.5, structure=Filter(), example_input=INPUTS)
    left = harness.compact(small, masks, INPUTS).eval()
    line = result(explain_slow_pass(dense, left, INPUTS, (1.0, 3.0)))
    assert line is not None and line.startswith("0.33 of the theoretical speed-up of 3: ")
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in (*dense.modules(), *left))


def test_the_vector_width_counts_numbers_of_the_inputs_dtype(monkeypatch) -> None:
    for kind, numbers in {"AVX512": 16, "AVX2": 8, "DEFAULT": 4}.items():
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda kind=kind: kind)
        assert vector_width(torch.zeros(1)) == numbers
        assert vector_width(torch.zeros(1, dtype=torch.bfloat16)) == 2 * numbers
    assert vector_width(torch.zeros(1, device="meta", dtype=torch.float16)) == 8
