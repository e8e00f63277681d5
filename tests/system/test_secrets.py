"""Environment variables: a run reads their values, and nothing that it leaves holds them."""

import sys
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
from command import TINY, only_run, run_folders, run_main
from conftest import cases
from handlers import as_before
from omegaconf import OmegaConf
from tracking_fakes import info

import harness
import harness.cli.sweep
from harness.launch.backends.base import try_execute_line
from harness.launch.backends.slurm_options import shell_lines
from harness.launch.sweeps.plan import Plan
from harness.launch.sweeps.planned_run import PlannedRun
from harness.launch.variables import resolved, unresolved
from harness.run_folder.overview import HOME
from harness.system.redaction import hide_variable, redact
from harness.tracking.sync import _address, offline_runs
from harness.tracking.wandb import Wandb

SECRET, OTHER = "hunter2-s3cr3t", "another-s3cr3t"
OWN = """
from torch import nn

class Net:
    def __init__(self, hidden, token):
        if token.startswith("refused"):
            raise RuntimeError(f"no access with {token!r}")
        self.hidden, self.token = hidden, token

    def build(self, shape, classes):
        return nn.Sequential(nn.Linear(shape[0], self.hidden[0]), nn.ReLU(),
                             nn.Linear(self.hidden[0], classes))
"""
MODEL = """
_target_: own_net.Net
hidden: ${oc.decode:${oc.env:HIDDEN}}
token: key ${oc.env:KEY}
"""


@pytest.fixture(name="run")
def fixture_run(tmp_path, monkeypatch) -> list[str]:
    """Returns a run with a secret in an own part's key and in the tracker's."""
    (tmp_path / "own_net.py").write_text(OWN)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "own_net.yaml").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEY", SECRET)
    monkeypatch.setenv("HIDDEN", "[5]")
    kept = [said for said in TINY if not said.startswith(("model=", "tracking="))]
    mine = ["--config-dir=conf", "model=own_net", "tracking=tensorboard"]
    return [*mine, *kept, "output_dir=runs", "progress=none", "device=cpu"]


def holding(folder: Path, text: str) -> list[Path]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    return [f for f in files if text.encode() in f.read_bytes() or text in str(f)]


def test_no_file_of_a_run_holds_what_the_environment_said(run, monkeypatch) -> None:
    assert run_main(monkeypatch, *run) == 0
    assert not holding(Path("runs"), SECRET)
    folder = only_run(Path("runs"))
    stored = (folder / "config.yaml").read_text()
    assert (
        "token: key ${oc.env:KEY}" in stored and "hidden: ${oc.decode:${oc.env:HIDDEN}}" in stored
    )
    assert "${oc.env:KEY}" in (folder / "identity.json").read_text()
    assert holding(folder / "tensorboard", "${oc.env:KEY}")


def test_other_values_are_other_runs_and_equal_ones_are_one_however_they_are_written(
    run, monkeypatch, capsys
) -> None:
    assert run_main(monkeypatch, *run) == 0
    folder = only_run(Path("runs"))
    capsys.readouterr()
    said = [text for text in run if text != "progress=none"] + ["progress=plain"]
    assert run_main(monkeypatch, *said) == 0
    assert f"skipped: {folder}" in capsys.readouterr().out
    assert run_main(monkeypatch, *said, "model.hidden=[5]") == 0
    assert f"skipped: {folder}" in capsys.readouterr().out
    monkeypatch.setenv("KEY", OTHER)
    assert run_main(monkeypatch, *run) == 0
    monkeypatch.setenv("HIDDEN", "[6]")
    assert run_main(monkeypatch, *run) == 0
    assert len(run_folders(Path("runs"))) == 3
    assert not holding(Path("runs"), SECRET) and not holding(Path("runs"), OTHER)


def test_a_run_is_loaded_with_its_variables_and_names_the_one_that_is_missing(run, monkeypatch):
    assert run_main(monkeypatch, *run) == 0
    folder = only_run(Path("runs"))
    assert harness.load(folder, trust="own_net")[1]["0.weight"].shape[0] == 5
    monkeypatch.delenv("KEY")
    with pytest.raises(ValueError, match=r"model.token=key \$\{oc.env:KEY\}: .* KEY is not set"):
        harness.load(folder, trust="own_net")


def test_neither_a_plan_nor_what_is_said_of_a_failed_run_holds_the_value(run, monkeypatch, capsys):
    tokens = "model.token='refused ${oc.env:KEY}','${oc.env:KEY}'"
    assert run_main(monkeypatch, "-m", *run, tokens, "launch.action=plan") == 0
    (file,) = (Path("runs") / "single" / HOME).glob("plan-*.jsonl")
    refused, fine = Plan.read(file).runs
    outcome = try_execute_line(refused.line)
    assert outcome.reason == "model: RuntimeError: no access with 'refused ${oc.env:KEY}'"
    assert "'refused ${oc.env:KEY}'" in Path(outcome.log).read_text()
    assert not holding(Path("runs"), SECRET)
    monkeypatch.delenv("KEY")
    with as_before():  # how they stand is said without a value
        assert harness.cli.sweep.main(["status", "runs/single"]) == 1
    assert "1 failed" in "".join(capsys.readouterr())
    # As a job does whose environment is another one.
    assert "the environment variable KEY is not set;" in try_execute_line(fine.line).reason
    monkeypatch.setenv("KEY", OTHER)
    assert "have other values here" in try_execute_line(planned_again(fine).line).reason


def test_what_others_print_of_an_error_holds_no_value_and_short_numbers_stay(monkeypatch, capsys):
    monkeypatch.setenv("KEY", SECRET)
    monkeypatch.setenv("EPOCHS", "7")
    for name in ("KEY", "EPOCHS"):
        hide_variable(name)
    traceback.print_exception(RuntimeError(f"no access with {SECRET}"))  # as W&B's hook does
    print(f"epoch 7: {SECRET}", file=sys.stderr)
    assert capsys.readouterr().err == (
        "RuntimeError: no access with ${oc.env:KEY}\nepoch 7: ${oc.env:KEY}\n"
    )


def test_a_choice_and_a_folder_of_the_environment_are_told_in_one_line(run, monkeypatch, capsys):
    assert run_main(monkeypatch, *run, "saliency=${oc.env:KEY}") == 2
    said = capsys.readouterr().err
    assert (
        said.startswith("harness: saliency=${oc.env:KEY}: there is no such") and SECRET not in said
    )
    monkeypatch.setenv("PLACE", "two\nlines")
    tell = [*run, "tracking=none", "progress=plain", "output_dir=${oc.env:PLACE}"]
    assert run_main(monkeypatch, *tell) == 0
    assert "finished: two\\nlines/single/" in capsys.readouterr().out


def planned_again(point: PlannedRun) -> PlannedRun:
    """Plans the run again as a sweep does whose data have been read, where KEY says SECRET."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEY", SECRET)
        return PlannedRun.of(replace(point.spec, data_sha256="da7a"), point.label)


def test_w_and_b_keeps_no_value_offline_and_syncs_to_where_the_environment_says(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("TEAM", SECRET)
    written = {"entity": "${oc.env:TEAM}", "project": "nets", "tags": ["of ${oc.env:TEAM}"]}
    values = resolved(written)
    tracking = Wandb(entity=values["entity"], tags=tuple(values["tags"]), artifacts=())
    with tracking.open(replace(info(tmp_path), config={"tracking": written})):
        pass
    assert holding(tmp_path, "of ${oc.env:TEAM}") and not holding(tmp_path, SECRET)
    OmegaConf.save(OmegaConf.create({"tracking": written}), tmp_path / "config.yaml")
    (offline,) = offline_runs(tmp_path)
    assert _address(offline, None, None) == (None, SECRET)
    assert _address(offline, "nets", "mine") == ("nets", "mine")


@cases(
    "text, stored",
    ("pre-${oc.env:KEY}", "pre-${oc.env:KEY}"),
    ("${oc.decode:${oc.env:WIDTH,3}}", "${oc.decode:${oc.env:WIDTH}}"),
    ("${oc.env:UNSET,3}", "3"),  # the config's own word
    ("${oc.env:UNSET,${oc.env:KEY}}", "${oc.env:KEY}"),
    ("${other}/x", "pre ${oc.env:KEY}/x"),
)
def test_what_is_stored_and_read_again_is_the_value(text, stored, monkeypatch) -> None:
    monkeypatch.setenv("KEY", "a${b}'q")  # read again it must not become an interpolation
    monkeypatch.setenv("WIDTH", "12")
    config = OmegaConf.create({"key": text, "other": "pre ${oc.env:KEY}"})
    found = unresolved(config)
    assert found["key"] == stored
    assert resolved(found) == OmegaConf.to_container(config, resolve=True)


@cases("text", "${oc.decode:'[${oc.env:WIDTH},2]'}", r"\${oc.env:WIDTH}")
def test_what_cannot_be_stored_as_it_is_written_is_refused(text, monkeypatch) -> None:
    monkeypatch.setenv("WIDTH", "12")
    with pytest.raises(
        ValueError, match=r"hidden: an environment variable can be stored as \$\{oc.env:NAME"
    ):
        unresolved(OmegaConf.create({"hidden": text}))


def test_values_are_hidden_in_every_form_and_short_ones_as_whole_words(monkeypatch) -> None:
    key = "it's\n a key"
    for name, value in (("WIDTH", "7"), ("RATE", "1e-3"), ("KEY", key)):
        monkeypatch.setenv(name, value)
        hide_variable(name)
    assert redact(f"got 7 of 17 or 7.5, 0.001 and {key!r}") == (
        'got ${oc.env:WIDTH} of 17 or 7.5, ${oc.env:RATE} and "${oc.env:KEY}"'
    )


def test_lines_of_a_slurm_script_name_the_variable_and_the_job_reads_it() -> None:
    assert shell_lines(["login ${oc.env:KEY}", "ls"]) == ["login ${KEY:?}", "ls"]
    with pytest.raises(ValueError, match="setup: echo '.*in single quotes"):
        shell_lines(["echo '${oc.env:KEY}'"])
