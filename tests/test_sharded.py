"""Sharded scores on 1 to 4 ranks give the masks of the whole tensors; what is wrong on one rank
is refused on all."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command import environment

PROGRAM = Path(__file__).with_name("sharded_program.py")


def on_ranks(count: int, out: Path) -> list[dict[str, Any]]:
    """What each rank found. A rank that hangs ends the test, after the timeout."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    done = subprocess.run(
        [sys.executable, *(torchrun if count > 1 else []), str(PROGRAM), str(out)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((out / f"{rank}.json").read_text()) for rank in range(count)]


@pytest.fixture(scope="module", name="found", params=[1, 2, 3, 4])
def fixture_found(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    return on_ranks(request.param, tmp_path_factory.mktemp("sharded"))


def test_shards_of_the_masks_are_those_of_the_whole_tensors(found: list[dict[str, Any]]) -> None:
    assert [rank["wrong"] for rank in found] == [[]] * len(found)


def test_a_nan_on_one_rank_is_refused_on_all(found: list[dict[str, Any]]) -> None:
    message = f"ValueError: w: 1 of {4 * len(found)} scores are NaN, over all ranks"
    for rank in found:
        assert rank["said"]["nan"] == rank["said"]["nan, nothing kept"] == message


def test_keeping_more_than_there_is_over_all_ranks_is_refused_on_all(
    found: list[dict[str, Any]],
) -> None:
    total = 6 * len(found)
    for said in (rank["said"] for rank in found):
        assert said["negative"] == f"ValueError: cannot keep -1 of {total} units"
        assert said["too many"] == f"ValueError: cannot keep {total + 1} of {total} units"
        assert said["too many of one"] == said["too many"]
        assert said["nothing there"] == "ValueError: cannot keep 1 of 0 units"


def odd_one(found: list[dict[str, Any]]) -> str:
    """How it is said that the last rank is not like the others."""
    last = len(found) - 1
    return "ranks 0 and 1 differ" if last == 1 else f"rank {last} differs from the others"


def test_ranks_that_ask_for_different_things_are_told_so(found: list[dict[str, Any]]) -> None:
    for said in (rank["said"] for rank in found):
        for case, what in (
            ("keep differs", "number to keep"),
            ("name differs", "order of the tensors, v, w"),
            ("order differs", "order of the tensors"),
            ("dtype differs", "w"),
        ):
            if len(found) == 1:
                assert said[case] == ""
            else:
                assert said[case].startswith("RanksDisagree: sharded scores")
                assert f" {odd_one(found)} ({what})" in said[case]


def test_no_tensors_give_no_masks(found: list[dict[str, Any]]) -> None:
    assert [rank["nothing"] for rank in found] == [[]] * len(found)


def test_traffic_is_what_the_docstring_says(found: list[dict[str, Any]]) -> None:
    tensors, ranks = 5, len(found)
    if ranks > 1:
        # Each with the 32 bytes by which ranks meet, which are all that a comparison sends.
        ends = 32 + (32 + 16 * tensors) + (32 + 16 * tensors * ranks)
        for rank in found:
            bits = {"all": 32 * (32 + 8), "each": 32 * (32 + 8 * tensors)}
            assert rank["traffic"] == {event: ends + size for event, size in bits.items()}


def test_a_replica_whose_weight_differs_in_one_bit_is_named_on_every_rank(
    found: list[dict[str, Any]],
) -> None:
    last = len(found) - 1
    for said in (rank["compared"] for rank in found):
        assert said["equal"] == ""
        if last:
            odd = odd_one(found)
            assert f"replicas: {odd} (w);" in said["weight"]
            assert f"replicas: {odd} (mask, w);" in said["weight and byte of a mask"]
