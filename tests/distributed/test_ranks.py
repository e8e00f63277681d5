"""The same masks, weights and records on 1, 2 and 4 ranks; divergence is noticed."""

from typing import Any

import pytest
import torch
from command import TINY, harness, only_run, records_of
from conftest import CONF
from forked_ranks import on_ranks
from ranks_cases import differ_in_decision, diverge, prune_with_every_saliency, run_levels

from harness.distributed import Ranks


@pytest.fixture(scope="module", name="pruned")
def fixture_pruned() -> dict[int, list[dict[str, Any]]]:
    alone = prune_with_every_saliency(Ranks())
    return {1: [alone], **{n: on_ranks(n, prune_with_every_saliency) for n in (2, 4)}}


# In float32 an inverse multiplies rounding by the condition of what is inverted.
INVERSES = {"obs", "woodfisher", "sparsegpt"}
TOLERANCE = {"float32": 1e-4, "float64": 1e-6}


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_every_saliency_gives_the_scores_of_one_process(pruned, count, dtype) -> None:
    (alone,) = pruned[1]
    cases = [case.split() for case in alone]
    names = {name for name, kind in cases if kind == dtype}
    assert names == {file.stem for file in (CONF / "saliency").glob("*.yaml")}
    for name in names - (INVERSES if dtype == "float32" else set()):
        for tensor, one in alone[f"{name} {dtype}"]["scores"].items():
            for rank in pruned[count]:
                other = rank[f"{name} {dtype}"]["scores"][tensor]
                worst = (one - other).abs().max()
                assert worst <= TOLERANCE[dtype] * one.abs().max(), (name, tensor, worst)


@pytest.mark.parametrize("count", [2, 4])
def test_every_saliency_in_float64_decides_the_masks_and_weights_of_one_process(pruned, count):
    (alone,) = pruned[1]
    cases = [case for case in alone if case.endswith("float64")]
    assert any(alone[case]["moved"] for case in cases)
    for case in cases:
        for rank in pruned[count]:
            for name, mask in alone[case]["masks"].items():
                assert torch.equal(mask, rank[case]["masks"][name]), (case, name)
            for name, weight in alone[case]["moved"].items():
                torch.testing.assert_close(
                    rank[case]["moved"][name], weight, rtol=1e-6, atol=1e-9, msg=f"{case} {name}"
                )


@pytest.mark.parametrize("count", [2, 4])
def test_all_ranks_hold_the_same_masks_bit_for_bit(pruned, count) -> None:
    first, *others = pruned[count]
    for other in others:
        for case, found in first.items():
            assert all(
                torch.equal(mask, other[case]["masks"][name])
                for name, mask in found["masks"].items()
            )


def test_levels_on_two_and_four_ranks_are_those_of_one_process(tmp_path) -> None:
    alone = run_levels(Ranks(), tmp_path)
    for count in (2, 4):
        ranks = on_ranks(count, run_levels, tmp_path)
        for rank in ranks:
            assert all(torch.equal(m, rank["masks"][name]) for name, m in alone["masks"].items())
            for name, tensor in alone["state"].items():
                torch.testing.assert_close(rank["state"][name], tensor, rtol=1e-9, atol=1e-12)
        for mine, theirs in zip(alone["records"], ranks[0]["records"], strict=True):
            assert (mine.masks, mine.top1, mine.steps) == (theirs.masks, theirs.top1, theirs.steps)
            assert mine.loss == pytest.approx(theirs.loss, rel=1e-9)
            assert mine.epoch_losses == pytest.approx(theirs.epoch_losses, rel=1e-9)
            assert mine.epoch_validation == theirs.epoch_validation
        assert [len(record.epoch_losses) for record in alone["records"]] == [2, 0, 1, 0, 1, 0, 1]


def test_a_flipped_mask_bit_is_noticed_on_every_rank_by_name(tmp_path) -> None:
    for said in on_ranks(2, diverge, tmp_path):
        assert "masks in force: ranks 0 and 1 differ (fc2.weight)" in said


def test_rank_0_decides_the_masks() -> None:
    assert on_ranks(2, differ_in_decision) == [[0, 2, 4, 6, 8, 10, 12]] * 2


def test_torchrun_gives_the_masks_of_one_process(tmp_path) -> None:
    for ranks in (1, 2):
        done = harness(*TINY, "dtype=float64", f"output_dir={tmp_path}/{ranks}", ranks=ranks)
        assert done.returncode == 0, done.stderr

    one, two = (records_of(only_run(tmp_path / str(ranks))) for ranks in (1, 2))
    assert [r.masks for r in one] == [r.masks for r in two]
    assert one[-1].masks != ""


def test_the_mean_weighs_ranks_by_their_samples() -> None:
    assert Ranks().mean({"w": torch.tensor([6.0])}, 3)["w"].item() == 2.0
    with pytest.raises(ValueError, match="no calibration samples"):
        Ranks().mean({"w": torch.tensor([6.0])}, 0)


def test_shares_are_consecutive_and_differ_by_one_at_most() -> None:
    shares = [Ranks(rank, 4).shard(torch.arange(10)).tolist() for rank in range(4)]
    assert shares == [[0, 1, 2], [3, 4, 5], [6, 7], [8, 9]]
