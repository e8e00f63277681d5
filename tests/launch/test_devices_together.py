"""Tests how the GPUs of a machine are handed out to the runs of a sweep."""

import os
from contextlib import ExitStack

import pytest

from harness.launch.backends import gpu_slots, worker
from harness.launch.backends.gpu_slots import Devices, devices_of
from harness.launch.run_spec import RunSpec
from harness.system.locks import Busy, locked


def test_a_place_of_a_sweep_has_a_gpu_for_every_rank(tmp_path, monkeypatch) -> None:
    def of(nproc: int, *names: int) -> Devices:
        launch = {"ranks_per_run": nproc, "devices": list(names) or None, "runs_per_gpu": 1}
        return devices_of({"device": "auto" if names else "cpu", "launch": launch})

    assert of(1, 4, 5).names == ("4", "5")
    assert of(2, 4, 5, 6, 7, 8).names == ("4,5", "6,7")
    assert of(2).names == ()
    with pytest.raises(
        ValueError, match=r"launch.ranks_per_run=3, but a sweep's runs have 2 GPUs \(4, 5\)"
    ):
        of(3, 4, 5)
    # Another sweep has device 5, so the first pair is not free.
    monkeypatch.setattr(gpu_slots, "_acquired", [])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for name in ("4-0", "5-0"):
        (tmp_path / name).mkdir()
    with ExitStack() as held, locked(tmp_path / "5-0", wait=False):
        monkeypatch.setattr(gpu_slots, "_held", held)
        of(2, 4, 5, 6, 7).acquire(tmp_path)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "6,7"
        with pytest.raises(Busy), locked(tmp_path / "7-0", wait=False):
            pass
        with locked(tmp_path / "4-0", wait=False):
            pass


def test_a_worker_measures_on_the_device_that_its_runs_will_have(tmp_path, monkeypatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(worker, "_exit_with_parent", lambda parent: None)
    monkeypatch.setattr(
        "harness.launch.benchmark.benchmark_run",
        lambda point: seen.append(os.environ["CUDA_VISIBLE_DEVICES"]),
    )
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(gpu_slots, "_acquired", [])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    with ExitStack() as held:
        monkeypatch.setattr(gpu_slots, "_held", held)
        worker.benchmark(RunSpec({}, {}, "", "").to_json(), Devices(("2",)), os.getpid())

    assert seen == ["2"]
