"""A run's folder: what lies in it, when it is skipped, and what a failure leaves."""

import json
import re
from pathlib import Path

import pytest
import torch
from command import TINY, only_run, records_of, run_main
from wandb_log import logs

from harness.models.mlp import Mlp
from harness.run_folder.export import read_exported
from harness.run_folder.status_file import Status
from harness.system.errors import NotFinite
from harness.system.locks import locked
from harness.training.trainer import Trainer


@pytest.fixture(name="finished")
def fixture_finished(tmp_path, monkeypatch) -> Path:
    assert run_main(monkeypatch, *TINY, f"output_dir={tmp_path}") == 0
    return only_run(tmp_path)


def again(folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> int:
    return run_main(monkeypatch, *TINY, f"output_dir={folder.parents[2]}", *more)


def test_a_run_leaves_config_records_timings_environment_and_network(finished) -> None:
    names = {file.name for file in finished.iterdir()}

    assert names == {
        "config.yaml", "identity.json", "environment.json", "status.json", "records.jsonl",
        "timings.jsonl", "model.safetensors", "masks.safetensors",
    }  # fmt: skip


def test_both_stages_are_recorded_with_what_was_asked_and_measured(finished) -> None:
    dense, pruned, finetuned = records_of(finished)

    assert (dense.stage, pruned.stage, finetuned.stage) == ("dense", "pruned", "finetuned")
    assert (dense.level, dense.epochs, dense.steps) == (0, 2, 8)
    assert (finetuned.level, finetuned.epochs, finetuned.steps) == (1, 1, 4)
    # mlp on blobs: 8*32 + 32*32 + 32*4 = 1,408 weights and 68 biases; 5 % of 1,408 is 70.4.
    assert finetuned.requested_density == 0.05
    assert finetuned.density == pytest.approx(70 / 1408)
    assert finetuned.parameters == 70 + 68
    assert finetuned.compression == pytest.approx(1476 / 138)
    assert finetuned.speedup == pytest.approx(1408 / 70)
    assert sum(d * n for d, n in zip(finetuned.layers.values(), (256, 1024, 128), strict=True)) == (
        pytest.approx(70)
    )
    assert pruned.masks == finetuned.masks != ""


def test_clock_times_are_beside_the_records_not_in_them(finished) -> None:
    timings = [json.loads(line) for line in (finished / "timings.jsonl").read_text().splitlines()]

    assert [(t["level"], t["stage"]) for t in timings] == [
        (r.level, r.stage) for r in records_of(finished)
    ]
    fields = json.loads((finished / "records.jsonl").read_text().splitlines()[0])
    # A latency table is an input, and no clock of the run.
    assert [name for name in fields if "seconds" in name] == ["table_milliseconds"]


def test_the_same_run_elsewhere_has_the_same_records_bit_for_bit(finished, tmp_path, monkeypatch):
    run_main(monkeypatch, *TINY, f"output_dir={tmp_path}/other")

    other = only_run(tmp_path / "other")
    assert other.name == finished.name
    assert (other / "records.jsonl").read_bytes() == (finished / "records.jsonl").read_bytes()


def test_another_seed_has_other_records(finished, tmp_path, monkeypatch) -> None:
    run_main(monkeypatch, *TINY, "seed=1", f"output_dir={tmp_path}/other")

    assert records_of(only_run(tmp_path / "other"))[0].loss != records_of(finished)[0].loss


def test_a_finished_run_is_skipped(finished, monkeypatch) -> None:
    before = (finished / "records.jsonl").stat().st_mtime_ns

    assert again(finished, monkeypatch) == 0
    assert (finished / "records.jsonl").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("rerun", "made_by", "redone"),
    [("never", "old", False), ("changed", "old", True), ("changed", None, False),
     ("always", None, True)],
)  # fmt: skip
def test_rerun_decides_what_is_done_again(finished, monkeypatch, rerun, made_by, redone) -> None:
    status = json.loads((finished / "status.json").read_text())
    if made_by:
        (finished / "status.json").write_text(json.dumps({**status, "commit": made_by}))
    before = (finished / "records.jsonl").stat().st_mtime_ns

    assert again(finished, monkeypatch, f"rerun={rerun}") == 0
    assert ((finished / "records.jsonl").stat().st_mtime_ns != before) == redone


def test_a_folder_with_another_config_is_refused(finished, monkeypatch, capfd) -> None:
    identity = json.loads((finished / "identity.json").read_text())
    identity["hashed_config"]["training"]["epochs"] = 99
    (finished / "identity.json").write_text(json.dumps(identity))
    Status(finished, "").set("finished")  # as if that other config had been run here

    assert again(finished, monkeypatch) == 2
    assert "another config (it differs in training.epochs)" in capfd.readouterr().err


@pytest.mark.parametrize("step", [0, 1])
def test_a_folder_that_is_a_link_is_refused_and_what_it_points_to_stays(
    finished, monkeypatch, capsys, step
) -> None:
    link = [finished, finished.parent][step]
    outside = link.rename(finished.parents[2] / "outside")
    link.symlink_to(outside)
    before = {f: f.read_bytes() for f in outside.rglob("*") if f.is_file()}
    capsys.readouterr()

    assert again(finished, monkeypatch, "rerun=always") == 2
    assert f"harness: {link} is a link" in capsys.readouterr().err
    assert {f: f.read_bytes() for f in outside.rglob("*") if f.is_file()} == before


def test_an_interrupted_run_starts_again_and_ends_with_equal_records(finished, monkeypatch) -> None:
    whole = (finished / "records.jsonl").read_text()
    (finished / "records.jsonl").write_text(whole.splitlines(keepends=True)[0] + '{"half')
    (finished / "status.json").write_text('{"state": "running"}')

    assert again(finished, monkeypatch) == 0
    assert (finished / "records.jsonl").read_text() == whole


def test_a_failing_run_says_why_in_one_line_and_in_its_folder(tmp_path, monkeypatch, capfd) -> None:
    def burst(*_: object, **__: object) -> None:
        raise NotFinite("epoch 1 of level 0: loss nan")

    monkeypatch.setattr(Trainer, "fit", burst)
    status = run_main(monkeypatch, *TINY, "tracking=wandb", f"output_dir={tmp_path}")

    folder = only_run(tmp_path)
    assert status == 1
    assert capfd.readouterr().err.splitlines()[-1] == "harness: epoch 1 of level 0: loss nan"
    assert json.loads((folder / "status.json").read_text())["state"] == "failed"
    assert [log.exit_code for log in logs(folder)] == [1]
    assert not (folder / "model.safetensors").exists()


def test_a_second_process_in_the_folder_is_told_who_is_there(finished, monkeypatch, capfd) -> None:
    with locked(finished):
        status = again(finished, monkeypatch, "rerun=always")

    assert status == 1
    assert re.search(r"is in use by process \d+ on", capfd.readouterr().err)


def test_wandb_gets_config_group_method_and_every_stage(tmp_path, monkeypatch) -> None:
    run_main(monkeypatch, *TINY, "tracking=wandb", f"output_dir={tmp_path}", "sweep_name=mine")

    folder = only_run(tmp_path, "mine")
    (log,) = logs(folder)
    assert (log.group, log.job_type, log.exit_code) == ("mine", "global_magnitude", 0)
    assert log.config["schedule"]["final"] == 0.05
    finetuned = records_of(folder)[-1]
    assert {row["finetuned/top1"] for row in log.history if "finetuned/top1" in row} == {
        finetuned.top1
    }


def test_weights_from_a_file_start_the_run_and_their_content_names_it(tmp_path, monkeypatch):
    run_main(monkeypatch, *TINY, f"output_dir={tmp_path}/a")
    state = read_exported(only_run(tmp_path / "a")).state
    torch.save(state, tmp_path / "one.pt")
    (tmp_path / "two.pt").write_bytes((tmp_path / "one.pt").read_bytes())

    for name in ("one", "two"):
        weights = f"weights={tmp_path}/{name}.pt"
        run_main(monkeypatch, *TINY, "training.epochs=0", weights, f"output_dir={tmp_path}/{name}")

    one, two = only_run(tmp_path / "one"), only_run(tmp_path / "two")
    assert one.name == two.name
    assert records_of(one)[0].top1 == records_of(only_run(tmp_path / "a"))[-1].top1


def test_weights_of_another_program_start_a_run_but_for_the_head(tmp_path, monkeypatch, capfd):
    state = {f"module.{name}": tensor for name, tensor in read_weights().items()}
    file = f"weights={tmp_path}/wrapped.pt"
    torch.save({"state_dict": state | {"module.fc3.bias": torch.ones(9)}}, f"{tmp_path}/wrapped.pt")
    given = (*TINY, "training.epochs=0", "retraining.epochs=0", "progress=plain", file)

    assert run_main(monkeypatch, *given, f"output_dir={tmp_path}/all") == 2
    assert "weights_skip=[fc3] leaves fc3 as initialised" in capfd.readouterr().err
    assert not (tmp_path / "all").exists()
    assert run_main(monkeypatch, *given, "weights_skip=[fc3]", f"output_dir={tmp_path}/body") == 0
    told = "read from state_dict; without the prefix module.; fc3 stays as initialised"
    assert capfd.readouterr().err.count(told) == 1
    assert run_main(monkeypatch, *TINY, "weights_skip=[fc3]", f"output_dir={tmp_path}/no") == 2
    assert "weights_skip=['fc3'] needs weights" in capfd.readouterr().err


def read_weights() -> dict[str, torch.Tensor]:
    """Returns the initial weights of another seed."""
    torch.manual_seed(5)
    return dict(Mlp([32, 32]).build((8,), 4).state_dict())


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_dense_network_is_trained_again_to_the_same_records(
    finished, monkeypatch, damage
) -> None:
    (cached,) = finished.parents[2].glob(".cache/dense/*/*/*.safetensors")
    before, whole = (finished / "records.jsonl").read_bytes(), cached.read_bytes()
    cached.write_bytes(whole[:100] if damage == "cut" else whole[:-1] + bytes([whole[-1] ^ 1]))

    assert again(finished, monkeypatch, "rerun=always") == 0
    assert (finished / "records.jsonl").read_bytes() == before
    assert cached.read_bytes() == whole


@pytest.mark.parametrize("content", [b"", b'{"state": "fini\xf3hed"}'])
def test_a_damaged_status_of_a_run_is_named(finished, monkeypatch, capfd, content) -> None:
    (finished / "status.json").write_bytes(content)

    assert again(finished, monkeypatch) == 2
    assert f"{finished / 'status.json'} is damaged" in capfd.readouterr().err


def test_a_damaged_identity_of_an_unfinished_run_is_named(finished, monkeypatch, capfd) -> None:
    Status(finished, "").set("running")
    (finished / "identity.json").write_text("")

    assert again(finished, monkeypatch) == 2
    assert f"{finished / 'identity.json'} is damaged" in capfd.readouterr().err
