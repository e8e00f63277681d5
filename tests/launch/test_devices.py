"""Places on devices are handed out once among processes, by lock files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import environment

from harness.launch.backends import gpu_slots as module
from harness.launch.backends.gpu_slots import VISIBLE, Devices, devices_of
from harness.launch.backends.local import LocalBackend

TAKE = """
import os, sys
from pathlib import Path
from harness.system.locks import Busy
from harness.launch.backends.gpu_slots import Devices
names, each, home = sys.argv[1].split(","), int(sys.argv[2]), Path(sys.argv[3])
try:
    Devices(tuple(names), each).acquire(home)
    Devices(tuple(names), each).acquire(home)  # again, as for the next run of this worker
    print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
except Busy as busy:
    print(f"Busy: {busy}", flush=True)
sys.stdin.read()
"""


def _take(home: Path, names: str, runs_per_gpu: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", TAKE, names, str(runs_per_gpu), str(home)],
        env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def _said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_every_place_is_handed_out_once_also_after_a_holder_was_killed(tmp_path) -> None:
    holders = [_take(tmp_path, "0,1", 2) for _ in range(4)]
    try:
        assert sorted(map(_said, holders)) == ["0", "0", "1", "1"]
        holders.append(_take(tmp_path, "0,1", 2))
        assert "all 4 slots on devices 0, 1 are taken" in _said(holders[-1])

        holders[1].kill()
        holders[1].wait()
        holders.append(_take(tmp_path, "0,1", 2))
        assert _said(holders[-1]) in ("0", "1")
        holders.append(_take(tmp_path, "0,1", 2))
        assert "are taken" in _said(holders[-1])
    finally:
        for process in holders:
            process.kill()
            process.communicate()


def test_a_second_device_is_used_before_a_second_place_on_the_first(tmp_path) -> None:
    holders = [_take(tmp_path, "GPU-a,GPU-b", 2)]
    try:
        assert _said(holders[0]) == "GPU-a"
        holders.append(_take(tmp_path, "GPU-a,GPU-b", 2))
        assert _said(holders[1]) == "GPU-b"
    finally:
        for process in holders:
            process.kill()
            process.communicate()


def test_without_devices_nothing_is_taken(tmp_path) -> None:
    Devices().acquire(tmp_path)

    assert list(tmp_path.iterdir()) == []


def _config(
    devices: object = None, runs_per_gpu: object = 1, device: str = "auto"
) -> dict[str, object]:
    launch = {"ranks_per_run": 1, "devices": devices, "runs_per_gpu": runs_per_gpu}
    return {"device": device, "launch": launch}


@pytest.mark.parametrize(
    ("visible", "names"),
    [("0,1", ("0", "1")), ("", ()), ("-1", ()), ("1,-1,0", ("1",)), (" 2 , GPU-x", ("2", "GPU-x"))],
)
def test_devices_are_those_that_cuda_would_see(visible, names, monkeypatch) -> None:
    monkeypatch.setenv(VISIBLE, visible)

    assert devices_of(_config()).names == names
    assert devices_of(_config(device="cpu")).names == ()
    assert devices_of(_config(devices=[3, "GPU-y"])).names == ("3", "GPU-y")


def test_wrong_values_name_the_key_and_the_rule() -> None:
    for config, message in (
        (_config(devices=[]), r"launch.devices=\[\] names no device; write device=cpu"),
        (_config(devices=[0, "0"]), "launch.devices names a device twice: 0, 0; .*runs_per_gpu"),
    ):
        with pytest.raises(ValueError, match=message):
            devices_of(config)


def test_there_are_as_many_workers_as_places_and_no_more() -> None:
    two = Devices(("0", "1"), runs_per_gpu=2)

    assert LocalBackend(-1, two).workers() == 4
    assert LocalBackend(3, two).workers() == 3
    with pytest.raises(ValueError, match="n_jobs=5, but devices 0, 1 have 4 slots; raise"):
        LocalBackend(5, two)
    for wrong in (0, -2, True, 1.0, "2"):
        with pytest.raises(
            ValueError, match=r"n_jobs must be a whole number in \[1, 1024\] or -1, got"
        ):
            LocalBackend(wrong, Devices())  # type: ignore[arg-type]


def test_the_default_home_of_locks_is_of_this_machine_and_user(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(module, "_acquired", [])
    monkeypatch.setenv(VISIBLE, "7")
    try:
        Devices(("7",)).acquire()
        (home,) = tmp_path.iterdir()
        assert home.name == f"pruning-harness-devices-{os.getuid()}"
        holder = json.loads((home / "7-0" / ".lock" / "holder.json").read_text())
        assert holder["pid"] == os.getpid()
    finally:
        module._held.close()
