"""The command of an engineer: what it adds to a command line, what it refuses and what it tells."""

import json
from pathlib import Path

from command import run_main
from conftest import cases

from harness.cli.shrink import DEFAULTS, with_defaults
from harness.report.before_after import before_and_after

DENSE = {"parameters": 1000, "macs": 6000, "top1": 0.9, "validation_top1": 0.8}
LEFT = {"parameters": 500, "macs": 2000, "top1": 0.85, "validation_top1": 0.75}
TIMED = {
    "event": "latency", "level": 1, "runtime": "eager", "batch_size": 1, "dtype": "float32",
    "threads": 1, "milliseconds_median": 2.0, "dense_milliseconds_median": 3.0,
    "speedup_low": 1.4, "speedup_median": 1.5, "speedup_high": 1.6,
}  # fmt: skip
FASTER = ["1.50x", "faster", "(1.40", "to", "1.60)"]
COMPACT = {
    "shapes": {
        "a.weight": [[8, 3], [6, 3]], "b.weight": [[8, 3], [6, 3]], "bn.weight": [[8], [6]],
        "c.weight": [[4, 8], [4, 6]],
    },
    "kept_indices": {
        "a.weight": [[0, 1, 2, 3, 4, 5], None], "b.weight": [[0, 1, 2, 3, 4, 5], None],
        "bn.weight": [[0, 1, 2, 3, 4, 5]], "c.weight": [None, [0, 1, 2, 3, 4, 5]],
    },
}  # fmt: skip


def finished(run: Path, *timed: dict[str, object]) -> Path:
    (run / "compact").mkdir(parents=True)
    (run / "compact/compact.json").write_text(json.dumps(COMPACT))
    (run / "compact/model.safetensors").write_bytes(b"0" * 2_000_000)
    for name, lines in {"records": [DENSE, LEFT], "timings": timed}.items():
        (run / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def test_both_networks_stand_beside_each_other(tmp_path) -> None:
    lines = before_and_after(finished(tmp_path / "run", TIMED))
    assert [line.split() for line in lines if line] == [
        ["a.weight", "(and", "1", "more)", "8", "->", "6"],
        ["before", "after"],
        ["parameters", "1,000", "500", "2.00x", "fewer"],
        ["multiply-accumulates", "6,000", "2,000", "3.00x", "fewer"],
        ["top-1,", "test", "90.00", "%", "85.00", "%"],
        ["top-1,", "validation", "80.00", "%", "75.00", "%"],
        [*["ms,", "batch", "1,", "eager,", "float32,", "threads", "1"], "3", "2", *FASTER],
        [str(tmp_path / "run/compact/model.safetensors"), "2", "MB"],
    ]


def test_what_was_not_measured_says_why(tmp_path) -> None:
    lines = before_and_after(finished(tmp_path / "run", {**TIMED, "not_measured": "no compiler"}))
    assert any(line.endswith("-  no compiler") for line in lines)


def test_a_damaged_line_of_timings_is_passed_over(tmp_path) -> None:
    run = finished(tmp_path / "run", TIMED)
    with (run / "timings.jsonl").open("a") as file:
        file.write("{damaged\n")
    assert any("1.50x faster" in line for line in before_and_after(run))


def test_a_given_key_stands_instead_of_the_default() -> None:
    words = with_defaults(["schedule.final=4", "+allocation=uniform"])
    assert len(words) == len(DEFAULTS) - 1  # two are given, and uniform has no `per`
    assert not {"schedule.final=2", "allocation=global_ranking", "allocation.per=mac"} & {*words}
    assert not [word for word in with_defaults(["structure=depth"]) if "round_to" in word]


@cases(
    "words, message",
    ((), "shrink needs weights=FILE"),
    (("weights=w.pt", "-m", "seed=0,1"), "shrink makes one network; for a sweep"),
    (("weights=w.pt", "compact=never"), "compact=never leaves the network as large as it is"),
    (("weights=missing.pt", "data.root=nowhere"), "weights=missing.pt: there is no such file"),
)
def test_what_cannot_be_shrunk_is_refused_in_one_line(words, message, monkeypatch, capsys) -> None:
    try:
        status = run_main(monkeypatch, *words, command="shrink")
    except SystemExit as stopped:
        status = stopped.code
    said = capsys.readouterr().err
    assert (status, said.count("\n")) == (2, 1)
    assert said.startswith(f"harness: {message}")


def test_packages_of_a_later_step_are_missed_before_the_first(monkeypatch, capsys) -> None:
    monkeypatch.setattr("harness.extras.find_spec", lambda name: None if "onnx" in name else name)
    try:
        run_main(monkeypatch, "weights=w.pt", command="shrink")
    except SystemExit as stopped:
        assert stopped.code == 2
    assert "pip install 'pruning-harness[export]', or write export=[torch_export]" in (
        capsys.readouterr().err
    )
