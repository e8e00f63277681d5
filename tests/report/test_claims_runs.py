"""Claims on a sweep that was really run: identity.json is what the harness writes."""

from pathlib import Path

import pytest
from command import ONE_WORKER, TINY, harness

from harness.report.claims import check
from harness.report.read.load import load


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("claims")
    grid = ("seed=0,1", "method=global_magnitude,random", "finetune=keep,lr_rewind")
    budget = ("finetune.epochs=1", "schedule.unit=compression", "schedule.final=6")
    place = (f"output_dir={folder}", "sweep_name=claims", ONE_WORKER)
    done = harness("-m", *TINY, *grid, *budget, *place, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "claims"


def test_a_real_sweep_is_compared_by_what_its_configs_differ_in(runs) -> None:
    found = check(load(runs)).set_index("key")

    rewinding = found.loc["lr_rewinding_beats_fine_tuning"]
    # Both methods, each with both ways back.
    assert (rewinding["seeds"], rewinding["cells"]) == (2, 2)
    assert "of training" not in rewinding["detail"]

    random = found.loc["random_is_worst"]
    # Each way back by itself: fine-tuning is not set against rewinding.
    assert random["detail"].count("against Random") == 2

    tested = {"lr_rewinding_beats_fine_tuning", "random_is_worst", "retraining_recovers"}
    assert set(found.index[found["cells"] > 0]) == tested
