"""The protocol of a fair survey: a survey that keeps it, and one fault at a time."""

import json
import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from fair_survey import DEVICE, Change, details_of, verdicts, write

from harness.cli.report import main
from harness.report.protocol.lint import check
from harness.report.read.load import load
from harness.run_folder.records import Record


def test_a_survey_that_keeps_the_protocol_passes_and_ends_with_0(tmp_path, capsys) -> None:
    write(tmp_path)
    assert verdicts(tmp_path) == {}
    assert main([str(tmp_path), "--lint"]) == 0
    printed = capsys.readouterr().out
    assert "14 pass, 0 fail, 0 missing" in printed
    assert "cpu x86_64" in printed
    table = pd.read_csv(tmp_path / "report" / "lint.csv")
    assert list(table) == ["item", "verdict", "details", "remedy"]
    assert not (tmp_path / "report" / "report.html").exists()


def is_random(record: Record) -> bool:
    return record.method == "random" and record.level > 0


FAULTS: dict[str, tuple[Change, dict[str, str]]] = {
    "a point is missed by more than 5 %": (
        lambda r: (
            replace(r, compression=8.5) if is_random(r) and r.requested_compression == 8 else r
        ),
        {"operating points": "fail"},
    ),
    "a result has two seeds": (
        lambda r: None if r.method == "random" and r.seed == 2 else r,
        {"seeds per result": "fail", "same seeds": "fail"},
    ),
    "a method has other seeds": (
        lambda r: replace(r, seed=r.seed + 1) if r.method == "random" else r,
        {"same seeds": "fail"},
    ),
    "the speed-up was not measured": (
        lambda r: replace(r, speedup=float("nan")) if r.level else r,
        {"compression and speed-up": "missing"},
    ),
    "nobody trained a dense network": (
        lambda r: r if r.level else None,
        {
            "raw and relative accuracy": "missing",
            "dense baseline": "missing",
            "same dense weights": "missing",
        },
    ),
    "there is no random baseline": (
        lambda r: replace(r, method="snip", label="SNIP") if r.method == "random" else r,
        {"random baseline": "missing"},
    ),
    "there is no global magnitude": (
        lambda r: None if r.method == "global_magnitude" else r,
        {"global magnitude baseline": "missing"},
    ),
    "there is no layerwise magnitude": (
        lambda r: None if r.method == "layerwise_magnitude" else r,
        {"layerwise magnitude baseline": "missing"},
    ),
    "a baseline stops early": (
        lambda r: None if r.method == "random" and r.requested_compression == 32 else r,
        {"operating points": "fail", "random baseline": "fail"},
    ),
    "a method starts from other weights": (
        lambda r: replace(r, loss=0.11) if r.method == "random" and not r.level else r,
        {"same dense weights": "fail"},
    ),
    "a method retrains longer": (
        lambda r: replace(r, epochs=2) if is_random(r) else r,
        {"same retraining budget": "fail"},
    ),
    "validation was not measured": (
        lambda r: replace(r, validation_top1=float("nan")),
        {"validation and test data": "missing"},
    ),
    "validation data are the test data": (
        lambda r: replace(r, validation_loss=r.loss),
        {"validation and test data": "fail"},
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_nothing_else_is(fault, tmp_path) -> None:
    change, expected = FAULTS[fault]
    write(tmp_path, change)
    assert verdicts(tmp_path) == expected


def test_what_is_not_met_says_who_and_what_to_do_and_ends_with_1(tmp_path, capsys) -> None:
    write(tmp_path, FAULTS["a method retrains longer"][0])
    assert main([str(tmp_path), "--lint", "--out", str(tmp_path / "out")]) == 1
    assert "13 pass, 1 fail, 0 missing" in capsys.readouterr().out
    rows = pd.read_csv(tmp_path / "out" / "lint.csv").set_index("item")
    row = rows.loc["same retraining budget"]
    assert row["details"] == "Random (lenet5, digits): 2 epochs where most have 1"
    assert row["remedy"].startswith("give all methods the same retraining.epochs")


def test_pruning_at_initialisation_has_an_equal_budget_and_its_whole_cost_is_told(tmp_path) -> None:
    def at_init(record: Record) -> Record:
        begins = record.method == "random" and not record.level
        return replace(record, stage="initial", epochs=0) if begins else record

    write(tmp_path, at_init)
    assert verdicts(tmp_path) == {}
    details = details_of(tmp_path, "same retraining budget")
    assert "dense training included: Global Magnitude 2, Layerwise Magnitude 2, Random 1" in details


def test_a_collapsed_network_that_loses_the_same_on_both_is_no_fault(tmp_path) -> None:
    chance = math.log(10)

    def collapse(record: Record) -> Record:
        if not is_random(record) or record.requested_compression < 32:
            return record
        return replace(record, loss=chance, validation_loss=chance, empty_layers=["fc.weight"])

    write(tmp_path, collapse)
    assert verdicts(tmp_path) == {}


def test_runs_without_a_device_are_counted(tmp_path) -> None:
    write(tmp_path, device=None)
    assert verdicts(tmp_path) == {"hardware named": "missing"}
    assert "45 of 45 runs do not name a device" in details_of(tmp_path, "hardware named")


def test_a_processor_is_named_by_its_model_beside_a_gpu_it_is_not(tmp_path) -> None:
    write(tmp_path, device={**DEVICE, "hardware": {"cpu": "AMD EPYC"}})
    other = {"numerics_key": {"device": "NVIDIA H100"}, "hardware": {"cpu": "AMD EPYC"}}
    (tmp_path / "random-2-0" / "environment.json").write_text(json.dumps(other))
    details = details_of(tmp_path, "hardware named")
    assert details == "all runs name their device: AMD EPYC (cpu x86_64), NVIDIA H100"


def test_a_damaged_environment_names_no_device(tmp_path) -> None:
    write(tmp_path)
    (tmp_path / "random-2-0" / "environment.json").write_text("{")
    (tmp_path / "random-2-1" / "environment.json").write_text("[]")
    details = details_of(tmp_path, "hardware named")
    assert details == "2 of 45 runs do not name a device: random-2-0, random-2-1"


LATENCY = {
    "event": "latency",
    "level": 1,
    "device": "cpu x86_64",
    "batch_size": 32,
    "dtype": "float32",
    "runtime": "eager",
    "threads": 1,
    "torch": "2.14.1",
}


@pytest.mark.parametrize("lacks", ["", "device", "batch_size", "dtype", "torch"])
def test_a_latency_needs_its_device_batch_and_precision(lacks, tmp_path) -> None:
    write(tmp_path)
    line = json.dumps({name: value for name, value in LATENCY.items() if name != lacks})
    (tmp_path / "random-2-0" / "timings.jsonl").write_text(f'{{"level": 0}}\n{line}\n{{"cut')
    found = check(load(tmp_path)).set_index("item").loc["latency with device, batch and precision"]
    assert found["verdict"] == ("fail" if lacks else "pass")
    assert found["details"].startswith("1 measurements")


def test_a_baseline_is_known_by_its_parts_but_a_control_is_none(tmp_path) -> None:
    other = FAULTS["there is no random baseline"][0]
    parts: dict[str, Any] = {"saliency": {"_target_": "harness.saliency.random.Random"}}
    for name, control in (("own", {}), ("control", {"control": "random"})):
        write(tmp_path / name, other)
        for run in (tmp_path / name).glob("random-*"):
            (run / "identity.json").write_text(json.dumps({"hashed_config": {**parts, **control}}))
    assert verdicts(tmp_path / "own") == {}
    assert verdicts(tmp_path / "control") == {"random baseline": "missing"}


def test_a_folder_without_results_is_wrong_input(tmp_path, capsys) -> None:
    assert main([str(tmp_path), "--lint"]) == 2
    assert "has no records" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
