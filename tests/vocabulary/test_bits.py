import pytest
import torch

from harness.vocabulary.bitpack import digest, pack, unpack

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(1,), (7,), (8,), (9,), (3, 5), (2, 3, 4, 5), (0,)])
def test_packing_and_unpacking_gives_the_mask_back(shape, device) -> None:
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(2)).to(device) > 0.5
    bits = pack(mask)
    assert bits.dtype == torch.uint8
    assert len(bits) == -(-mask.numel() // 8)
    assert unpack(bits, mask.shape).dtype == torch.bool
    assert torch.equal(unpack(bits, mask.shape), mask)


@pytest.mark.parametrize("device", DEVICES)
def test_the_first_element_is_the_highest_bit(device) -> None:
    mask = torch.tensor([True, False, False, False, False, False, True, True, True], device=device)
    assert pack(mask).tolist() == [0b1000_0011, 0b1000_0000]


def test_a_transposed_mask_is_packed_in_logical_order() -> None:
    mask = torch.tensor([[True, False], [True, True]])
    assert torch.equal(unpack(pack(mask.t()), mask.t().shape), mask.t())


def test_digest_changes_with_any_one_bit() -> None:
    seen = {digest({"w": torch.ones(19, dtype=torch.bool)})}
    for index in range(19):
        mask = torch.ones(19, dtype=torch.bool)
        mask[index] = False
        seen.add(digest({"w": mask}))
    assert len(seen) == 20


def test_digest_changes_with_names_and_not_with_their_order() -> None:
    one, two = torch.tensor([True, False]), torch.tensor([False, True])
    assert digest({"a": one, "b": two}) == digest({"b": two, "a": one})
    assert digest({"a": one, "b": two}) != digest({"a": two, "b": one})
    assert digest({"a": one}) != digest({"c": one})


@pytest.mark.parametrize("device", DEVICES)
def test_digest_of_a_known_mask_never_changes(device) -> None:
    # Records of different versions are compared by it.
    masks = {"fc.weight": torch.tensor([[True, False], [False, True]], device=device)}
    assert digest(masks) == "1669fa7517035fdf"


def test_an_unpacked_mask_may_be_written_to() -> None:
    mask = unpack(pack(torch.tensor([True, False])), torch.Size([2]))
    mask[1] = True
    assert pack(mask).tolist() == [0b1100_0000]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bit", range(1, 8))
@pytest.mark.parametrize("value", [False, True])
def test_a_byte_that_is_neither_true_nor_false_changes_the_digest(bit, value, device) -> None:
    sound = torch.full((3, 5), value, device=device)
    other = sound.clone()
    other.view(torch.uint8)[1, 2] ^= 1 << bit
    digests = {digest({"w": sound}), digest({"w": ~sound}), digest({"w": other})}
    assert len(digests) == 3


def test_which_byte_is_damaged_shows_in_the_digest() -> None:
    masks = [torch.ones(6, dtype=torch.bool) for _ in range(6)]
    for place, mask in enumerate(masks):
        mask.view(torch.uint8)[place] = 3
    assert len({digest({"w": mask}) for mask in masks}) == 6
