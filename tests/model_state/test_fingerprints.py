"""Fingerprints tell tensors apart by every bit, its place, its dtype and its shape."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from conftest import cases
from torch import Tensor

from harness.model_state import fingerprints
from harness.model_state.fingerprints import ROW, fingerprint

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")),
]
SIZES = (1, 2, ROW - 1, ROW, ROW + 1, 3 * ROW, 40 * ROW + 5)


def of(tensor: Tensor) -> str:
    return fingerprint({"w": tensor})["w"]


def by_hand(words: list[int], level: int = 0) -> list[int]:
    """Computes both lanes by the formula of the docstring, with Python's whole numbers."""
    factors = fingerprints._multipliers(level, torch.device("cpu")).tolist()
    rows = [words[first : first + ROW] for first in range(0, max(len(words), 1), ROW)]
    sums = [
        sum(a * w for a, w in zip(lane, row, strict=False)) % 2**64
        for row in rows
        for lane in factors
    ]
    if len(rows) == 1:
        return sums
    halves = [half for one in sums for half in (one % 2**32, one >> 32)]
    return by_hand([half - 2**32 * (half >= 2**31) for half in halves], level + 1)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", SIZES)
def test_a_fingerprint_is_the_formula_of_its_docstring(size, device) -> None:
    stream = torch.Generator().manual_seed(size)
    words = torch.randint(-(2**31), 2**31, (size,), generator=stream).int()
    digits = "".join(f"{lane:016x}" for lane in by_hand(words.tolist()))
    assert of(words.to(device)) == f"int32 ({size},) {digits}"


def test_multipliers_are_odd_and_all_different() -> None:
    every = torch.stack([fingerprints._multipliers(level, torch.device("cpu")) for level in (0, 1)])
    assert (every % 2 != 0).all()
    assert len(every.unique()) == every.numel()


def changed(tensor: Tensor) -> Iterator[Tensor]:
    """Yields the tensor with one bit flipped, for some bits of its first, middle and last byte."""
    octets = tensor.numel() * tensor.element_size()
    for place in {0, octets // 2, octets - 1}:
        for bit in (0, 3, 7):
            other = tensor.clone()
            other.view(-1).view(torch.uint8)[place] ^= 1 << bit
            yield other


@cases("dtype", torch.float64, torch.float32, torch.bfloat16, torch.bool, torch.uint8, torch.int64)
@cases("size", 1, 7, 3 * ROW + 2)
def test_every_flipped_bit_gives_a_fingerprint_of_its_own(dtype, size) -> None:
    tensor = torch.ones(size, dtype=dtype)
    seen = {of(one) for one in (tensor, *changed(tensor))}
    assert len(seen) == 1 + len(list(changed(tensor)))


def test_turned_signs_exchanged_values_and_moved_rows_are_seen() -> None:
    weights = torch.randn(4, ROW, generator=torch.Generator().manual_seed(0))
    flipped, swapped = weights.clone(), weights.clone()
    flipped[0, 1:5:2] *= -1  # two sign bits: 2^31 + 2^31
    swapped[2, [5, 6]] = weights[2, [6, 5]]
    moved, negated, mirrored = weights.roll(1, 0), -weights, weights.flip(1)
    tensors = (weights, flipped, swapped, moved, negated, mirrored, weights.roll(1, 1))
    assert len({of(one) for one in tensors}) == len(tensors)


def test_random_changes_of_few_words_never_collide() -> None:
    stream = torch.Generator().manual_seed(3)
    seen = set()
    for _ in range(2000):
        words = torch.zeros(64, dtype=torch.int32)
        words[torch.randint(0, 64, (3,), generator=stream)] ^= -(2**31)
        seen.add((tuple(words.tolist()), of(words)))
    assert len({digits for _, digits in seen}) == len({words for words, _ in seen}) > 1000


def test_zeros_of_unequal_sign_and_nans_of_other_bits_differ() -> None:
    nan, other = (
        torch.tensor([bits]).int().view(torch.float32) for bits in (0x7FC00000, 0x7FC00001)
    )
    assert nan.isnan() and other.isnan()
    assert of(nan) != of(other)
    assert of(torch.tensor([0.0])) != of(torch.tensor([-0.0]))


@pytest.mark.parametrize("device", DEVICES)
@cases("dtype", torch.float64, torch.float16, torch.bool, torch.complex64)
@cases("shape", (), (0,), (3, 2))
def test_dtype_and_shape_count_and_the_device_does_not(dtype, shape, device) -> None:
    weights = torch.ones(shape, dtype=dtype, device=device)
    found = of(weights)
    assert found == of(weights.cpu().clone())
    assert found != of(weights.to(torch.complex128))
    assert found != of(weights.unsqueeze(0))


def test_trailing_zeros_count_by_the_shape() -> None:
    sizes = (3, 4, ROW, ROW + 1, 2 * ROW)
    assert all(of(torch.zeros(a)) != of(torch.zeros(b)) for a, b in pairwise(sizes))


def test_the_memory_layout_does_not_count_and_weights_are_left_alone() -> None:
    weights = torch.randn(2, 3, 4, 5, requires_grad=True)
    other = weights.detach().clone().contiguous(memory_format=torch.channels_last)
    assert of(weights) == of(other)
    assert of(weights.detach()[:, 1]) == of(weights.detach()[:, 1].clone())
    assert weights.requires_grad
    assert other.is_contiguous(memory_format=torch.channels_last)


def test_nothing_has_no_fingerprint() -> None:
    assert fingerprint({}) == {}


@cases("layout", torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr)
@pytest.mark.filterwarnings("ignore:Sparse CS[RC] tensor support:UserWarning")
def test_of_a_sparse_tensor_values_places_shape_and_layout_decide(layout) -> None:
    def made(entries: dict[tuple[int, int], float], size: int = 4) -> str:
        dense = torch.zeros(size, size)
        for place, value in entries.items():
            dense[place] = value
        blocks = (1, 1) if layout is torch.sparse_bsr else None
        return of(dense.to_sparse(layout=layout, blocksize=blocks))

    known = made({(0, 1): 2.0, (3, 2): 5.0})
    assert made({(0, 1): 2.0, (3, 2): 5.0}) == known
    others = [
        made({(0, 1): 2.0, (3, 2): -5.0}), made({(0, 1): 5.0, (3, 2): 2.0}),
        made({(0, 2): 2.0, (3, 2): 5.0}), made({(1, 1): 2.0, (3, 2): 5.0}), made({(0, 1): 2.0}),
        made({}), made({(0, 1): 2.0, (3, 2): 5.0}, size=5), of(torch.zeros(4, 4)),
    ]  # fmt: skip
    assert len({known, *others}) == 9


@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor:UserWarning")
def test_of_a_quantized_tensor_whole_numbers_scale_and_zero_point_decide() -> None:
    def made(number: float, scale: float, point: int, dtype: torch.dtype = torch.qint8) -> str:
        return of(torch.quantize_per_tensor(torch.full((5,), number), scale, point, dtype))

    scales = torch.tensor([0.5, 0.25])
    points = torch.zeros(2, dtype=torch.int64)
    channels = torch.quantize_per_channel(torch.ones(2, 2), scales, points, 0, torch.qint8)
    known = made(1.0, 0.5, 0)
    assert made(1.0, 0.5, 0) == known
    others = [made(2.0, 0.5, 0), made(0.5, 0.25, 0), made(0.5, 0.5, 1), of(channels)]
    assert len({known, *others, made(1.0, 0.5, 0, torch.quint8)}) == 6
