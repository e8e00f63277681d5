"""Ranks whose networks differ, or that come to different collectives, are told so, all of them."""

import pytest
from forked_ranks import on_ranks
from replicas_cases import all_cases

DIFFER = {
    "measured": "the model before evaluation: ranks 0 and 1 differ (1.fc1.weight);",
    "constant": "the model before evaluation: ranks 0 and 1 differ (scale);",
    "wrapped": "the model before training: ranks 0 and 1 differ (1.fc1.weight);",
    "statistics": "the model after statistics of RankFault: ranks 0 and 1 differ (conv.weight);",
    "score": "the model after score of RankFault: ranks 0 and 1 differ (conv.weight);",
    "solve": "the model after solve of RankFault: ranks 0 and 1 differ (conv.weight);",
    "compensate": "the model after compensate of RankFault: ranks 0 and 1 differ (conv.weight);",
    "run": "the model after statistics of RankFault: ranks 0 and 1 differ (fc1.weight);",
    "recalibration": (
        "the model after recalibration by RecalibrationFault: ranks 0 and 1 differ (fc1.weight);"
    ),
    "recalibration hooks": (
        "the model after recalibration by RecalibrationFault: ranks 0 and 1 differ "
        "(hooks of module fc1);"
    ),
    "penalty hooks": (
        "the replicas after epoch 1 of level 1/penalty: ranks 0 and 1 differ (hooks of module fc1);"
    ),
    "penalty": (
        "the replicas after epoch 1 of level 1/penalty: ranks 0 and 1 differ "
        "(OddPenalty.make_gradient_hook.<locals>.<lambda>.0.fc1.weight);"
    ),
}
MANNERS = {
    "hook": "hooks of module 1.fc1", "gradient hook": "hooks of 1.fc1.weight",
    "frozen": "requires_grad of 1.fc1.weight", "eps": "eps of 0", "mode": "mode of 1.fc1",
    "forward": "forward of 1.fc1", "activation": "act of 1", "list": "gains of 1",
    "plain tensor": "gain of 1", "class": "module 1.fc1",
}  # fmt: skip
# What rank 0 and rank 1 have come to, and what of it is not the same.
APART = {
    "other keys": ("mean of 2 tensors (", "b float32 (2,)", "mean of 1 tensors (", "no b"),
    "other shapes": ("mean of 2", "a float32 (2, 3)", "mean of 2", "a float32 (3, 2)"),
    "other dtypes": ("mean of 2", "b float32 (2,)", "mean of 2", "b float64 (2,)"),
    "a mean is skipped": ("mean of 2", "a float32", "comparison of masks in force (", "no a"),
    "another sum": ("sum of a tensor", "float32 (3,)", "sum of a tensor", "float32 (1, 3)"),
    "fewer tensors": ("2 tensors of rank 0", "1 float32", "1 tensors of rank 0", "no 1"),
    "other masks": ("masks of rank 0", "w bool (16,)", "masks of rank 0", "v bool (16,)"),
    "own of a part": ("by a component (", "float32 (7,)", "by a component (", "float32 (5,)"),
    "own beside ours": ("barrier (", "no 0", "broadcast, called by a component (", "(2,)"),
    "one left": ("barrier (", "", "a value of every rank (", ""),
}


@pytest.fixture(scope="module", name="said")
def fixture_said(tmp_path_factory) -> dict[str, str]:
    """Returns by case the error that both ranks raise."""
    first, second = on_ranks(2, all_cases, tmp_path_factory.mktemp("replicas"))
    assert first == second
    return dict(first)


def test_a_difference_is_named_before_it_is_measured_copied_or_used(said) -> None:
    for case, start in DIFFER.items():
        assert said[case].startswith(start), case


def test_so_is_what_decides_how_a_network_computes_beside_its_tensors(said) -> None:
    for case, named in MANNERS.items():
        start = f"the model before evaluation: ranks 0 and 1 differ ({named});"
        assert said[f"manner: {case}"].startswith(start), case


def test_statistics_that_ranks_keep_for_themselves_and_equal_runs_are_no_difference(said) -> None:
    assert (said["statistics of a norm"], said["nothing"], said["alike"]) == ("", "", "[2.0, 2.0]")


@pytest.mark.parametrize("case", APART)
def test_ranks_that_come_to_different_collectives_are_told_both_places(said, case) -> None:
    begin, here = said[case].split("rank 0: ")
    here, there = here.split("; rank 1: ")
    assert begin == "ranks reached different collectives: "
    first, of_first, second, of_second = APART[case]
    assert first in here and of_first in here and second in there and of_second in there
    assert (
        "(tests/helpers/replicas_cases.py:" in here and "(tests/helpers/replicas_cases.py:" in there
    )
