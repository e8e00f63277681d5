"""A single bit that flips in one rank's masks ends the run at the next check, by name."""

import random

import pytest
import torch
from benchmarks.bit_flip import Flip
from benchmarks.flip_trials import alone, in_one_job
from conftest import cases


# tests/test_benchmark.py has the same on two ranks.
def test_a_flip_is_caught_on_every_rank_before_the_next_checkpoint_is_written(tmp_path) -> None:
    cases = in_one_job(ranks=4, trials=4, seed=0, top=tmp_path)

    assert [case for case in cases if not case["caught"]] == []
    assert [len(case["accounts"]) for case in cases] == [4] * 4


# What is said on two ranks, tests/test_benchmark.py sees on ranks of one job.
def test_a_flip_ends_every_process_of_the_command_line_and_names_rank_and_tensor(tmp_path) -> None:
    case = alone(ranks=4, seed=0, top=tmp_path)

    assert case["caught"], case


@cases(
    "place, bit, name, bytes_after",
    (0.0, 0, "a", [0, 1, 1, 1]),
    (0.45, 1, "a", [1, 3, 1, 1]),
    (0.99, 7, "b", [1, 1, 1, 129]),
)
def test_a_flip_changes_one_bit_of_one_byte_and_torch_does_not_notice(
    place, bit, name, bytes_after
) -> None:
    masks = {"a": torch.ones(1, 2, dtype=torch.bool), "b": torch.ones(2, dtype=torch.bool)}
    versions = [mask._version for mask in masks.values()]

    assert Flip(rank=0, step=1, place=place, bit=bit).happen(masks) == name
    bytes_now = torch.cat([mask.flatten().view(torch.uint8) for mask in masks.values()])
    assert bytes_now.tolist() == bytes_after
    assert [mask._version for mask in masks.values()] == versions


def test_drawn_flips_meet_every_rank_step_and_bit() -> None:
    draws = random.Random(0)
    flips = [Flip.drawn(draws, ranks=3, steps=5) for _ in range(500)]

    assert {flip.rank for flip in flips} == {0, 1, 2}
    assert {flip.step for flip in flips} == {1, 2, 3, 4, 5}
    assert {flip.bit for flip in flips} == set(range(8))
    assert sum(flip.bit == 0 for flip in flips) == pytest.approx(250, abs=50)
