import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

Measured = tuple[dict[str, Any], str]

CHECKOUT = Path(__file__).parents[1]


def benchmark(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, CHECKOUT / "scripts" / "benchmark", *arguments]
    # The harness of this checkout, installed or not.
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(
        [str(part) for part in command], env=environment, capture_output=True, text=True
    )


def measured(part: str, out: Path) -> Measured:
    """What the file holds, and what was printed."""
    done = benchmark(part, "--quick", "--repeats", 2, "--out", out)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text()), done.stdout


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    return measured("loop", tmp_path_factory.mktemp("benchmark") / "new" / "loop.json")


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    return measured("masks", tmp_path_factory.mktemp("benchmark") / "masks.json")


def test_the_bare_loop_and_the_harness_end_in_equal_weights(loop: Measured) -> None:
    differences = [figure["largest_weight_difference"] for figure in loop[0]["figures"]]
    assert differences == pytest.approx([0.0, 0.0], abs=1e-6)


def test_the_loop_is_measured_for_both_optimizers_in_every_round(
    loop: Measured,
) -> None:
    figures = {figure["name"]: figure for figure in loop[0]["figures"]}
    assert list(figures) == ["loop: harness / bare, SGD momentum", "loop: harness / bare, Adam"]
    for figure in figures.values():
        rounds = {side: len(times) for side, times in figure["seconds"].items()}
        assert rounds == {"harness": 2, "bare": 2}
        assert 0 < figure["min"] <= figure["median"] <= figure["max"]


def test_masks_of_the_harness_and_of_torch_are_measured_beside_each_other_and_train_equally(
    masks: Measured,
) -> None:
    figures = {figure["name"]: figure for figure in masks[0]["figures"]}
    assert list(figures) == [
        "masks: masked / dense step, SGD momentum",
        "masks: torch's prune / dense, SGD momentum",
        "masks: dense / dense (noise), SGD momentum",
        "masks: masked / dense step, Adam",
        "masks: torch's prune / dense, Adam",
        "masks: dense / dense (noise), Adam",
    ]
    differences = [f["largest_weight_difference"] for n, f in figures.items() if "torch" in n]
    assert differences == pytest.approx([0.0, 0.0], abs=1e-6)


def test_the_file_says_what_the_figures_were_measured_on(loop: Measured) -> None:
    about, _ = loop
    assert about["threads"] == 1
    assert about["device"].startswith("cpu")
    assert {"torch", "date", "commit", "cores", "load"} <= about.keys()


def test_every_figure_is_a_row_of_the_table(loop: Measured, masks: Measured) -> None:
    for content, table in (loop, masks):
        for figure in content["figures"]:
            row = next(line for line in table.splitlines() if line.startswith(figure["name"]))
            assert f"{figure['median']:.3f}" in row


def test_no_rounds_are_refused(tmp_path: Path) -> None:
    done = benchmark("loop", "--repeats", 0, "--out", tmp_path / "x.json")
    assert done.returncode == 2
    assert "must be at least 1, got 0" in done.stderr
