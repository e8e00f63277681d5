"""A lock of another host is watched before its holder is taken for dead, by whoever meets it."""

import time
from contextlib import ExitStack
from dataclasses import replace

from command import TINY, only_run, run_main
from conftest import cases
from left_caches import DENSE, STAGE, kinds, written
from left_locks import ELSEWHERE, Clock, lock_left_by, refused, renew
from planned_runs import plan_in

from harness.cli.clean import main
from harness.launch.backends import gpu_slots
from harness.launch.backends.gpu_slots import VISIBLE, Devices
from harness.launch.backends.local import LocalBackend
from harness.launch.sweeps.sweep import Sweep
from harness.run_folder.overview import HOME
from harness.system.locks import is_held, is_stale, locked, watch_locks
from harness.system.processes import this_process


@cases("written_at", 0, time.time() - 600, time.time() + 600, ids=["never", "slow", "fast"])
def test_a_lock_of_another_host_is_watched_for_a_lease_and_then_taken_over(
    tmp_path, monkeypatch, written_at
) -> None:
    clock = Clock(monkeypatch)
    renew(lock_left_by(ELSEWHERE, tmp_path), written_at)
    for _ in range(3):  # at 0, 20 and 40 s
        assert refused(tmp_path).startswith(f"{tmp_path} is in use by process 1 on elsewhere;")
        clock.now += 20
    clock.now -= 0.1
    refused(tmp_path)
    clock.now += 0.1
    with locked(tmp_path, wait=False):
        pass


def test_a_lock_of_another_host_that_is_renewed_is_never_taken_over(tmp_path, monkeypatch) -> None:
    clock = Clock(monkeypatch)
    lock = lock_left_by(ELSEWHERE, tmp_path)
    for number in range(20):
        renew(lock, 1e9 - number)  # the server's clock goes backwards
        refused(tmp_path)
        clock.now += 59


def test_one_long_pause_between_two_looks_says_nothing_about_the_holder(tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    lock = lock_left_by(ELSEWHERE, tmp_path)
    assert not is_stale(lock)
    clock.now += 3600  # this process was suspended, or the file server was away
    assert not is_stale(lock)
    clock.now += 30
    assert is_stale(lock)


def test_watching_ends_with_a_sign_of_life_or_after_a_lease(tmp_path, monkeypatch) -> None:
    clock = Clock(monkeypatch)
    dead, living = (lock_left_by(ELSEWHERE, tmp_path / name) for name in "ab")

    def sleep(seconds: float) -> None:
        clock.now += seconds
        if clock.now > 1003:
            renew(living, clock.now)

    monkeypatch.setattr(time, "sleep", sleep)
    watch_locks([living])
    assert 1003 < clock.now < 1004
    watch_locks([dead, living, tmp_path / "none"])
    assert is_stale(dead) and not is_stale(living)
    assert 1063 < clock.now < 1064.5


def test_a_run_on_a_lock_of_another_host_waits_for_a_lease_before_it_goes_on(tmp_path, monkeypatch):
    assert run_main(monkeypatch, *TINY, f"output_dir={tmp_path}") == 0
    folder = only_run(tmp_path)
    records = (folder / "records.jsonl").read_bytes()
    (folder / "status.json").unlink()
    lock_left_by(ELSEWHERE, folder)
    clock = Clock(monkeypatch)
    assert run_main(monkeypatch, *TINY, f"output_dir={tmp_path}") == 0
    assert 60 <= clock.now - 1000 < 62
    assert not is_held(folder) and (folder / "records.jsonl").read_bytes() == records


def test_a_sweep_of_another_host_that_gives_no_sign_for_a_lease_is_over(
    tmp_path, monkeypatch, capsys
) -> None:
    home = tmp_path / "single" / HOME
    lock_left_by(ELSEWHERE, home)
    clock, plan = Clock(monkeypatch), plan_in(tmp_path, "seed=0")
    assert Sweep(plan, LocalBackend(1, Devices())).write() == 0
    assert 1060 <= clock.now < 1062
    assert f"{home} is locked by another host: watching it, 60 s at" in capsys.readouterr().out


def test_a_lock_of_another_host_is_freed_only_after_it_was_watched_for_a_lease(
    tmp_path, monkeypatch, capsys
) -> None:
    clock = Clock(monkeypatch)
    runs = tmp_path
    for place, name in ((DENSE, "epoch-00002.safetensors"), (STAGE, "state.stage")):
        written(runs / place / name)
    dead, living = lock_left_by(ELSEWHERE, runs / DENSE), lock_left_by(ELSEWHERE, runs / STAGE)
    assert kinds(runs) == {"dense": 1, "stages": 1}

    def sleep(seconds: float) -> None:
        clock.now += seconds
        renew(living, clock.now)

    monkeypatch.setattr(time, "sleep", sleep)
    assert main([str(runs), "--free", "all", "--yes"]) == 0
    assert not dead.exists() and living.exists()
    assert 1060 <= clock.now < 1062
    said = capsys.readouterr().out
    assert "watching 2 locks of other hosts, 60 s at most" in said
    assert f"left: {runs / STAGE} is in use by process 1 on elsewhere" in said
    assert kinds(runs) == {"stages": 1}


def test_a_place_that_was_held_before_the_machine_started_anew_is_free_after_a_while(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(gpu_slots, "_acquired", [])
    monkeypatch.setenv(VISIBLE, "0")
    lock_left_by(replace(this_process(), boot="before"), tmp_path / "0-0")
    clock = Clock(monkeypatch)
    with ExitStack() as held:
        monkeypatch.setattr(gpu_slots, "_held", held)
        Devices(("0",)).acquire(tmp_path)
        assert 1060 <= clock.now < 1062
