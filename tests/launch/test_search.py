"""A search proposes values by validation accuracy, repeats itself, and counts what fails."""

import json
import math
import sys
from pathlib import Path

import pytest
from command import ONE_WORKER, TINY, harness, records_of
from conftest import cases
from hydra.core.override_parser.overrides_parser import OverridesParser

from harness.launch.sweeps.hydra_plugins import SEARCH_ONLY_RUNS
from harness.launch.sweeps.optuna_search import Search
from harness.run_folder.outcome import Outcome, finished
from harness.run_folder.status_file import Status

RATE = "rate=tag(log,interval(0.0001,1))"


def searched(*overrides: str, trials: int = 30, batch_size: int = 3, seed: int = 0) -> Search:
    """Returns a search whose accuracy is best at a rate of 0.01; rates above 0.03 diverge."""

    def carry_out(batch: list[list[str]]) -> list[Outcome]:
        return [_outcome(dict(text.split("=") for text in each)) for each in batch]

    search = Search(trials, batch_size, seed)
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    sizes = [len(search.done) for _ in search.batches(parsed, carry_out)]
    assert sizes == [*range(batch_size, trials, batch_size), trials]
    return search


def _outcome(values: dict[str, str]) -> Outcome:
    rate = float(values["rate"])
    if rate > 0.03:
        return Outcome("failed", "f", "diverged")
    # A test accuracy that would choose otherwise.
    return Outcome("finished", "f", "", test=rate, validation=1 - abs(math.log10(rate) + 2) / 4)


def test_a_search_finds_the_best_on_validation_data_and_counts_what_failed() -> None:
    search = searched(RATE, "seed=7")

    assert search.best is not None and search.best.validation is not None
    assert search.best.validation > 0.97
    assert search.best.validation == max(trial.validation or 0 for trial in search.done)
    early, late = (
        sum(t.validation or 0 for t in part) for part in (search.done[:10], search.done[20:])
    )
    assert late > early + 1  # it learns
    failed = [trial for trial in search.done if trial.validation is None]
    assert 0 < len(failed) == search.failed == search.result()["failed"]
    assert {trial.reason for trial in failed} == {"diverged"}
    assert search.line().startswith(f"search: 30 trials, {len(failed)} failed; best rate=0.0")


def test_proposals_depend_on_the_seed_alone() -> None:
    assert searched(RATE).done == searched(RATE).done
    assert searched(RATE).done != searched(RATE, seed=1).done


def test_whole_numbers_choices_and_the_last_word_on_a_key() -> None:
    search = searched(RATE, "a=int(interval(1,3))", "b='p q',r", "rate=0.01,0.001", trials=12)

    found = [dict(text.split("=") for text in trial.overrides) for trial in search.done]
    assert {values["a"] for values in found} <= {"1", "2", "3"}
    assert {values["b"] for values in found} == {"'p q'", "r"}
    assert {values["rate"] for values in found} == {"0.01", "0.001"}


def test_without_a_result_there_is_no_best() -> None:
    search = searched("rate=0.5,0.7", trials=4, batch_size=4)

    assert search.result()["best"] is None
    assert search.line() == "search: 4 trials, 4 failed; none has a result"


@cases(
    "overrides, message",
    (["rate=0.1"], "hydra/sweeper=search: no key has a range; write interval"),
    (["rate=glob(*)"], r"rate=glob\(\*\): no range that can be searched; write interval"),
    (["rate=interval(3,1)"], "rate: .*low"),
    (["rate=tag(log,interval(0,1))"], "rate: .*low"),
    (["rate=int(tag(log,interval(0,8)))"], "rate: .*low"),
)
def test_ranges_that_cannot_be_searched_are_refused(overrides, message) -> None:
    with pytest.raises(ValueError, match=message):
        searched(*overrides)


@cases("key, value", ("trials", 0), ("batch_size", "two"), ("seed", -1))
def test_sizes_out_of_range_are_refused_by_name(key, value) -> None:
    sizes = {"trials": 1, "batch_size": 1, "seed": 0, key: value}

    with pytest.raises(ValueError, match=f"hydra.sweeper.{key} must be a whole number in "):
        Search(**sizes)


def test_without_optuna_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)

    with pytest.raises(ValueError, match=r"pip install 'pruning-harness\[search\]'"):
        searched(RATE)


def test_a_run_that_was_finished_before_still_says_what_it_measured(tmp_path) -> None:
    for name in ("model.safetensors", "masks.safetensors"):
        (tmp_path / name).touch()
    lines = '{"top1": 0.5, "validation_top1": 0.6}\n{"top1": 0.7, "validation_top1": 0.8}\n'
    (tmp_path / "records.jsonl").write_text(lines)
    Status(tmp_path, "code").set("finished")

    outcome = finished(tmp_path, "code", "never")
    assert outcome and (outcome.state, outcome.test, outcome.validation) == ("skipped", 0.7, 0.8)
    (tmp_path / "records.jsonl").write_text("")
    Status(tmp_path, "code").set("finished")
    outcome = finished(tmp_path, "code", "never")
    assert outcome and (outcome.test, outcome.validation) == (None, None)


def test_a_second_start_of_a_search_trains_nothing_again(tmp_path) -> None:
    command = (
        "-m", "hydra/sweeper=finetune_lr", *TINY, "retraining.epochs=2", "seed=3",
        "saliency=gradient", "calibration.samples=64,9999", "hydra.sweeper.trials=4",
        "hydra.sweeper.batch_size=2", "hydra.sweeper.seed=2", "sweep_name=rates",
        f"output_dir={tmp_path}", ONE_WORKER,
    )  # fmt: skip
    first = harness(*command)
    file = tmp_path / "rates" / "search.json"
    found = json.loads(file.read_text())
    second = harness(*command)

    assert first.returncode == second.returncode == 1  # some trials fail
    trials, best = found["trials"], found["best"]
    good = [trial for trial in trials if trial["validation"] is not None]
    assert len(trials) == 4 and 0 < len(good) == 4 - found["failed"] < 4
    for trial in good:
        assert records_of(Path(trial["folder"]))[-1].validation_top1 == trial["validation"]
    assert best["validation"] == max(trial["validation"] for trial in good)
    assert f"search: 4 trials, {found['failed']} failed; best " in first.stdout
    assert "finished in" not in second.stdout
    again = json.loads(file.read_text())
    assert [trial["overrides"] for trial in again["trials"]] == [t["overrides"] for t in trials]
    assert again["best"]["validation"] == best["validation"]


def test_only_runs_are_searched(tmp_path) -> None:
    done = harness(
        "-m", "hydra/sweeper=finetune_lr", *TINY, "launch.action=plan", ONE_WORKER,
        f"output_dir={tmp_path}",
    )  # fmt: skip

    assert done.returncode == 2
    assert done.stderr == f"harness: {SEARCH_ONLY_RUNS}\n"
