"""Names that become a path or a line of a script: one rule, refused before anything is written."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import submitit
from command import TINY, run_main
from grids import points_of
from sbatch_stand_ins import StandIns

from harness.launch.backends.gpu_slots import Devices
from harness.launch.backends.slurm import SlurmBackend
from harness.launch.backends.slurm_options import SlurmOptions
from harness.launch.run_spec import sweep_folder
from harness.system.names import check_name

WRONG = [
    "", ".", "..", "../../x", "/tmp/x", "a/b", "a\\b", ".hidden", "-rf", "--help", "a b", "a\nb",
    "a\n",
    "a\x1b[2J", "$(touch pwned)", "`touch pwned`", "a;touch pwned", "a'b", 'a"b', "a*", "a%j",
    "~", "\u202eabc", "na\u00efve", "x" * 101, None, True, ["a"], {"a": 1},
]  # fmt: skip


@pytest.mark.parametrize("value", WRONG)
def test_what_is_no_name_is_refused_in_one_line_without_control_characters(value) -> None:
    with pytest.raises(ValueError, match=r"^sweep_name must be a name, got ") as caught:
        check_name("sweep_name", value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", ["a", "A9", "_x", "+", "=", "lr=0.1", "a.b-c", "x" * 100, 7, 1.5])
def test_a_name(value) -> None:
    assert check_name("name", value) == str(value)


@pytest.mark.parametrize("key", ["run_name", "sweep_name"])
def test_a_run_of_a_wrong_name_writes_nothing(key, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in ([f"{key}=../../x"], ["-m", "seed=0,1", f"{key}='a\nb'"]):
        assert run_main(monkeypatch, *arguments, *TINY) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"harness: {key} must be a name, got ")
    assert list(tmp_path.iterdir()) == []


def test_a_name_in_a_plan_of_others_leads_nowhere_either() -> None:
    (point,) = points_of([[]])
    for key in ("run_name", "sweep_name"):
        config = {**point.config, "run_name": "run", "sweep_name": "single", key: "../../x"}
        with pytest.raises(ValueError, match=f"{key} must be a name"):
            _ = replace(point, config=config).folder
    with pytest.raises(ValueError):
        sweep_folder(config)


@pytest.mark.parametrize(
    "values",
    [
        {"partition": "gpu\ntouch pwned"}, {"account": "a\rtouch pwned"}, {"qos": "a\u2028b"},
        {"extra": {"comment": "a\ntouch pwned"}}, {"extra": {"a\ntouch pwned": 1}},
        {"extra": {"$(touch pwned)": 1}}, {"extra": {"": 1}}, {"extra": {1: 1}},
        {"extra": {"-comment": 1}}, {"extra": {"comment": ["a\n"]}},
    ],
)  # fmt: skip
def test_a_value_that_is_more_than_a_line_of_the_batch_script_is_refused(values) -> None:
    # A list is written as repr() has it, where a newline is two characters.
    if values == {"extra": {"comment": ["a\n"]}}:
        assert SlurmOptions.of(values).extra == values["extra"]
        return
    with pytest.raises(ValueError, match=r"^hydra\.launcher\.\w+") as caught:
        SlurmOptions.of(values)
    assert str(caught.value).isprintable()


NASTY = ["two words", "it's", 'a"b', "$(touch pwned)", "`touch pwned`", "-x", "a;touch pwned #"]


@pytest.mark.parametrize("text", NASTY)
def test_the_batch_script_quotes_every_value_and_path(tmp_path, text, monkeypatch) -> None:
    stand_ins = StandIns(tmp_path, str(tmp_path / "script"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    asked = SlurmOptions(partition=text, account=text, extra={"comment": text})
    jobs = SlurmBackend(tmp_path / text / "jobs", asked, "survey")
    executor = submitit.SlurmExecutor(jobs._log_folder)
    options = asked.submitit_parameters("survey")
    parameters = {key.removeprefix("slurm_"): value for key, value in options.items()}
    renamed = {"name": "job_name", "timeout_min": "time", "tasks_per_node": "ntasks_per_node"}
    executor.update_parameters(**{renamed.get(key, key): v for key, v in parameters.items()})
    script = executor._make_submission_file_text(executor._submitit_command_str, "0")
    Path(stand_ins.script).write_text(script)

    said = stand_ins.run(cwd=tmp_path).stdout.splitlines()
    assert str(jobs._log_folder) in said
    assert not list(tmp_path.rglob("pwned"))
    flags = [line for line in script.splitlines() if line.startswith("#SBATCH --comment=")]
    words = subprocess.run(
        ["bash", "-c", f"printf '%s' {flags[0].removeprefix('#SBATCH ')}"],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert len(flags) == 1 and words.stdout == f"--comment={text}"


@pytest.mark.parametrize("folder", ["a%jb", "a\\b", "a\nb", "a\x1bb"])
def test_a_folder_that_slurm_would_read_as_another_is_refused(tmp_path, folder, monkeypatch):
    StandIns(tmp_path, "survey.sh")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(ValueError, match="output_dir=PATH|control characters"):
        SlurmBackend(tmp_path / folder, SlurmOptions(), "survey")
    assert not (tmp_path / folder).exists()


@pytest.mark.parametrize("device", ["../../x", "a b", "$(id)", "", "-1"])
def test_a_device_that_could_be_another_file_is_refused(device) -> None:
    with pytest.raises(ValueError, match=r"^launch\.devices must be a name"):
        Devices((f"0,{device}",))


def test_a_part_of_a_gpu_has_a_lock_of_its_own(tmp_path) -> None:
    Devices(("MIG-GPU-5d5b/1/0",)).acquire(tmp_path)
    try:
        assert [place.name for place in tmp_path.iterdir()] == ["MIG-GPU-5d5b_1_0-0"]
    finally:
        from harness.launch.backends import gpu_slots

        gpu_slots._held.close()
        gpu_slots._acquired.clear()
        os.environ.pop(gpu_slots.VISIBLE, None)


@pytest.mark.parametrize("runs", ["-x", "two words", "it's $(touch pwned)", "plan: y"])
def test_a_survey_finds_its_plan_below_any_folder(tmp_path, runs) -> None:
    stand_ins = StandIns(tmp_path, "survey.sh")
    plan = f"{runs}/survey/.sweep/plan-0.jsonl"
    (tmp_path / "bin" / "python").write_text(
        f"#!/bin/sh\ncat <<'END'\n2 runs: about 3 s\nplan: {plan}\nEND\n"
    )

    assert stand_ins.run().returncode == 0
    shown = f"./{plan}" if plan.startswith("-") else plan
    first, _, last = stand_ins.seen("calls").splitlines()
    assert first.endswith(f" slurm/sweep.sbatch {shown} --dense")
    assert last.endswith(f" slurm/report.sbatch {shown.split('/.sweep')[0]}")
