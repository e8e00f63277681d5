"""Tests what the helpers of these tests promise."""

import os
import signal
import subprocess

import kinds
import pytest
import torch
from command import TINY, harness, run_main
from conftest import ROOT
from cutting import places
from forked_ranks import on_ranks
from handlers import as_before, changed, handlers

from harness.distributed import Ranks
from harness.system.signals import stop_on_signals


@pytest.mark.parametrize("last", ["training.epochs=0", "training.batch_size=0"])
def test_a_command_in_this_process_leaves_its_signal_handlers_as_they_were(
    tmp_path, monkeypatch, last
) -> None:
    with as_before():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, frame: None)
        before = handlers()
        run_main(monkeypatch, *TINY, last, f"output_dir={tmp_path}")
        assert handlers() == before


def test_handlers_that_a_test_leaves_behind_are_named_and_put_back() -> None:
    before = handlers()
    stop_on_signals()

    assert changed(before) == ["SIGINT", "SIGUSR1", "SIGTERM"]
    assert handlers() == before and changed(before) == []


def _in_a_process() -> None:
    subprocess.run(["true"], check=True)


def _on_two_ranks() -> None:
    harness("seed=0", ranks=2)


def _on_forked_ranks() -> None:
    on_ranks(2, print)


def test_what_starts_a_process_is_told_from_what_it_reaches(request) -> None:
    def through_another() -> None:
        _in_a_process()

    found = [
        kinds.started(each)
        for each in (through_another, _on_two_ranks, _on_forked_ranks, as_before)
    ]
    assert found == [{"process"}, *[{"process", "ranks"}] * 2, set()]
    assert {mark.name for mark in request.node.iter_markers()} == {"process", "ranks"}


def _odd_rank(ranks: Ranks, way: str) -> int:
    if ranks.rank == 1 and way == "raises":
        raise ValueError("the second is odd")
    if ranks.rank == 1 and way == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return ranks.rank + int(ranks.sum(torch.ones(1)))


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("raises", "rank 1 of 2: ended with status 1\n"),
        ("dies", "rank 1 of 2: ended with status -9"),
    ],
)
def test_a_rank_that_fails_is_told_and_the_next_case_has_a_group_of_its_own(way, said) -> None:
    with pytest.raises(AssertionError) as error:
        on_ranks(2, _odd_rank, way)

    assert said in str(error.value)
    assert ("ValueError: the second is odd" in str(error.value)) is (way == "raises")
    assert on_ranks(2, _odd_rank, "") == [2, 3]


def test_of_the_places_of_a_cut_a_few_are_run_by_default_and_none_is_lost() -> None:
    cases = places("abcde", few=2)
    left_out = [case.values[0] for case in cases if hasattr(case, "marks")]
    assert len(left_out) == 3 and cases == places("abcde", few=2)
    assert {*left_out, *(case for case in cases if isinstance(case, str))} == set("abcde")


def test_the_script_leaves_out_the_kinds_that_are_seldom_run() -> None:
    said = f'"not ({" or ".join(kinds.SELDOM)})"'
    assert said in (ROOT / "scripts" / "test").read_text()


def test_files_that_are_named_by_a_kind_are_there() -> None:
    named = [kinds.BENCHMARKS, kinds.COPIES, *kinds.PACKAGES, *kinds.DOCS]
    named += [f"tests/{name}" for name in kinds.JOBS]
    for name in named:
        file, _, test = name.partition("::")
        assert f"def {test}".removesuffix("def ").partition("[")[0] in (ROOT / file).read_text()
