"""Tests what a finished run leaves at W&B: masks, records, histograms, and its dense weights."""

import gc
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import wandb
import wandb_log
from tracking_fakes import info, record

from harness.tracking.artifacts import read_masks, write_masks
from harness.tracking.base import RunInfo
from harness.tracking.wandb import Wandb

pytest_plugins = ["wandb_fixtures"]
pytestmark = pytest.mark.usefixtures("no_settings_of_the_user")

MASKS = {
    "conv.weight": np.array([[[True, False], [True, True]]]),
    "fc.weight": np.array([True, False, False, False, False, False, False, False, True]),
}


def finish(folder: Path, tracking: Wandb, sweep: Path | None = None) -> RunInfo:
    """Tracks a run that leaves its results and ends; returns its RunInfo."""
    dense = folder / ".cache/dense" / "de15e"
    dense.mkdir(parents=True)
    (dense / "epoch-00012.safetensors").write_bytes(b"weights")
    me = info(folder, sweep)
    me = replace(me, dense=dense, config={**me.config, "training": {"epochs": 12}})
    state = {
        "conv.weight": np.array([[[1.0, 0.0], [2.0, 4.0]]], dtype=np.float32),
        "fc.weight": np.zeros(9, dtype=np.float32),
        "fc.bias": np.ones(3, dtype=np.float32),
    }
    with tracking.open(me) as sink:
        sink.log(record(1, "finetuned"))
        safetensors.numpy.save_file(MASKS, folder / "masks.safetensors")
        safetensors.numpy.save_file(state, folder / "model.safetensors")
        (folder / "records.jsonl").write_text("{}\n")
        (folder / "config.yaml").write_text("seed: 7\n")
        (folder / "environment.json").write_text("{}\n")
    return me


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> wandb_log.WandbLog:
    folder = tmp_path_factory.mktemp("run")
    finish(folder, Wandb())
    (log,) = wandb_log.logs(folder)
    return log


def test_masks_come_back_as_they_were(tmp_path) -> None:
    write_masks(tmp_path, MASKS)
    back = read_masks(tmp_path)
    assert back.keys() == MASKS.keys()
    for name, mask in MASKS.items():
        assert (back[name].dtype, back[name].tolist()) == (np.bool_, mask.tolist())


def test_masks_are_packed_to_a_bit_per_weight_and_compressed(tmp_path) -> None:
    write_masks(tmp_path, MASKS)
    with np.load(tmp_path / "masks.npz") as file:
        assert file["conv.weight"].tolist() == [0b10110000]
        assert file["conv.weight//shape"].tolist() == [1, 2, 2]
    sparse = np.zeros(80_000, dtype=bool)
    assert write_masks(tmp_path, {"w": sparse}).stat().st_size < 1000


def test_a_folder_without_masks_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="no masks.npz in .*: pass the folder of a downloaded"):
        read_masks(tmp_path)


def test_wandb_gets_the_masks_with_their_shapes(log) -> None:
    (masks,) = [one for one in log.artifacts if one.type == "masks"]
    assert masks.name == "masks-0123456789ab"
    assert masks.metadata["shapes"] == {"conv.weight": [1, 2, 2], "fc.weight": [9]}
    found = [masks.metadata[name] for name in ("method", "density", "density_of")]
    assert found == ["global_magnitude", 0.5, "weights"]
    (path,) = masks.files.values()
    assert read_masks(path.parent)["fc.weight"].tolist() == MASKS["fc.weight"].tolist()


def test_wandb_gets_the_records_with_config_and_environment(log) -> None:
    (records,) = [one for one in log.artifacts if one.type == "records"]
    assert records.files.keys() == {"records.jsonl", "config.yaml", "environment.json"}
    assert records.files["config.yaml"].read_text() == "seed: 7\n"


def test_wandb_gets_what_the_dense_training_was_but_not_its_weights(log) -> None:
    (dense,) = [one for one in log.artifacts if one.type == "dense-training"]
    known = {"model": "lenet", "data": "digits", "seed": 7, "epochs": 12}
    assert (dense.name, dense.metadata, dense.used) == ("dense-de15e", known, False)
    # Byte for byte, because the digest tells its version.
    what = json.dumps(known | {"hash": "de15e"}, indent=1, sort_keys=True)
    assert dense.files["dense.json"].read_text() == f"{what}\n"
    assert dense.files.keys() == {"dense.json"}


def test_wandb_dense_training_is_brought_by_one_run_and_used_by_the_others(tmp_path) -> None:
    used = {}
    for name in ("a", "b"):
        finish(tmp_path / name, Wandb(artifacts=("dense",)), sweep=tmp_path)
        (log,) = wandb_log.logs(tmp_path / name)
        used[name] = [(one.name, one.used) for one in log.artifacts]
    assert used == {"a": [("dense-de15e", False)], "b": [("dense-de15e", True)]}


def test_wandb_gets_the_dense_weights_where_asked(tmp_path) -> None:
    finish(tmp_path, Wandb(dense_weights=True, artifacts=("dense",)))
    (log,) = wandb_log.logs(tmp_path)
    assert log.artifacts[0].files.keys() == {"dense.json", "epoch-00012.safetensors"}


def test_wandb_gets_a_histogram_of_the_weights_that_are_left(log) -> None:
    last = log.history[-1]
    drawn = last["weights/conv.weight"]
    # 1, 2 and 4 are left; the zero is pruned.
    assert sum(drawn["values"]) == 3
    assert (drawn["bins"][0], drawn["bins"][-1], len(drawn["values"])) == (1.0, 4.0, 64)
    assert sum(last["weights/fc.weight"]["values"]) == 2
    assert "weights/fc.bias" not in last
    assert (last["density"], last["compression"], last["level"]) == (0.5, 1.99, 1)


def test_wandb_leaves_out_what_is_not_asked_for(tmp_path) -> None:
    finish(tmp_path, Wandb(artifacts=(), histograms=False))
    (log,) = wandb_log.logs(tmp_path)
    assert not log.artifacts
    assert not [name for name in log.history[-1] if name.startswith("weights/")]


def test_wandb_failed_run_leaves_no_artifacts(tmp_path) -> None:
    with pytest.raises(KeyError), Wandb().open(info(tmp_path)) as sink:
        sink.log(record(1, "finetuned"))
        safetensors.numpy.save_file(MASKS, tmp_path / "masks.safetensors")
        raise KeyError
    (log,) = wandb_log.logs(tmp_path)
    assert not log.artifacts


def test_wandb_folders_that_python_clears_away_fail_no_test() -> None:
    for number in range(102):  # W&B holds the last hundred
        with wandb.Artifact(f"tables-{number}", type="run_table").new_file("t.json") as file:
            file.write("{}")
    gc.collect()
