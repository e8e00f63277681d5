"""The one entry point: its commands, what it refuses, what a first word means."""

import os
import re
import shlex
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from command import TINY, environment, harness, only_run, python, records_of, run_main
from conftest import cases
from handlers import as_before
from hydra._internal.hydra import Hydra

from harness import cli
from harness.cli.main import COMMANDS, EXAMPLES, INTERNAL, RUNNING, help_text, is_override, main
from harness.launch.compose import compose_config
from harness.system.signals import FINISH_S

HOME = Path(str(cli.__file__)).parent
EXAMPLE_LINES = [re.split(r"  +", line.strip())[0] for line in EXAMPLES.splitlines()]


def test_help_lists_every_command_module_with_one_line(capsys) -> None:
    modules = {file.stem for file in HOME.glob("*.py")} - {
        "__init__",
        "main",
        "hydra_main",
        "platforms",
    }
    assert modules == COMMANDS.keys() | INTERNAL.keys()
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert said == f"{help_text()}\n"
    for name, line in COMMANDS.items():
        assert len(re.findall(rf"^  {name} +{re.escape(line)}$", said, re.MULTILINE)) == 1
    assert len(EXAMPLE_LINES) == 11 and max(map(len, said.splitlines())) <= 100


@cases("line", *EXAMPLE_LINES)
def test_a_common_command_is_one_that_works(line) -> None:
    _, *words = shlex.split(line)
    overrides = [re.sub(r"=([^\[,]+),.*", r"=\1", word) for word in words if "=" in word]
    if not words or is_override(words[0]) or words[0] in (*RUNNING, "shrink"):
        assert compose_config(overrides)
    else:
        import_module(f"harness.cli.{words[0]}")._parser().parse_args(words[1:])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, monkeypatch, capsys) -> None:
    assert run_main(monkeypatch, "--help", command=name) == 0
    said = capsys.readouterr().out
    assert "Override anything in the config" in said or f"usage: pruning-harness {name} " in said


@cases("command", "run", "sensitivity", "latency")
def test_help_of_a_run_begins_with_common_commands(command, monkeypatch, capsys) -> None:
    run_main(monkeypatch, "--help", command=command)
    said = capsys.readouterr().out
    assert said.startswith(f"common commands:\n{EXAMPLES}\n") and said.count(EXAMPLES) == 1
    assert "Keys of pruning-harness" in said and "harness is powered" not in said


@cases(
    "words, said",
    ("run status", "status: no override of a run; write KEY=VALUE, or, if it is a command, `prun"),
    ("sweep plan mine", "mine: no override of a run; write KEY=VALUE, or, if"),
    ("run seed=[1", "seed=[1: Hydra cannot read this; close all brackets, and put quotes"),
    ("run -m seed=0,1 a=b:{", "a=b:{: Hydra cannot read this; close all brackets, and put quotes"),
    ("sensitivity --mulitrun", "--mulitrun: there is no such option; did you mean --multirun? "),
    (
        "run --cfg all --config-dir",
        "argument --config-dir/-cd: expected one argument; `pruning-harness",
    ),
)
def test_words_that_hydra_cannot_read_are_one_line(words, said, monkeypatch, capsys) -> None:
    command, *rest = words.split()
    assert run_main(monkeypatch, *rest, command=command) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"harness: {said}") and captured.err.count("\n") == 1


@cases(
    "word, said",
    ("staus", "staus: no such command; did you mean status? use KEY=VALUE for a run, or one of "),
    ("magnitude", "magnitude: no such command; use KEY=VALUE for a run, or one of run, status, "),
    ("a\x1b[2J", r"a\x1b[2J: no such command; use KEY=VALUE for a run, or one of "),
)
def test_an_unknown_command_is_one_line_that_names_the_commands(word, said, capsys) -> None:
    assert main([word]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"harness: {said}") and captured.err.count("\n") == 1
    assert captured.out == "" and ", ".join(COMMANDS) in captured.err


def test_the_version_is_that_of_the_package(capsys) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"pruning-harness \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


def test_run_said_explicitly_is_the_same_run_as_without(tmp_path, monkeypatch, capfd) -> None:
    with as_before():
        monkeypatch.setattr(sys, "argv", ["pruning-harness", *TINY, f"output_dir={tmp_path}"])
        assert main() == 0
    assert "finished: " in capfd.readouterr().out
    assert run_main(monkeypatch, *TINY, f"output_dir={tmp_path}", command="run") == 0
    assert "skipped: " in capfd.readouterr().out
    assert run_main(monkeypatch, *TINY, f"output_dir={tmp_path}", "progress=none") == 0
    assert capfd.readouterr().out == f"{only_run(tmp_path)}\n"
    assert len(records_of(only_run(tmp_path))) == 3


def test_a_flag_of_hydra_alone_means_a_run_after_which_a_signal_stops_nothing(
    monkeypatch, capfd
) -> None:
    with as_before():
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        monkeypatch.setattr(sys, "argv", ["pruning-harness", "--cfg", "job", "seed=7"])
        assert main() == 0
        # Python still waits for worker processes: an exception there would be a traceback.
        signal.raise_signal(signal.SIGTERM)
        assert signal.alarm(0) == FINISH_S
    assert "seed: 7\n" in capfd.readouterr().out
    assert "HYDRA_FULL_ERROR" not in os.environ


@cases("name", "main", "status", "report", "clean", "slurm")
def test_a_small_command_loads_neither_torch_nor_hydra(name) -> None:
    loaded = "{'torch', 'hydra', 'omegaconf'} & {*sys.modules}"
    done = python_alone(f"import sys, harness.cli.{name}; print({loaded})")
    assert done.stdout == "set()\n", done.stderr


def python_alone(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment(), capture_output=True, text=True)


def test_the_module_and_the_script_are_one_program(tmp_path) -> None:
    script = Path(sys.executable).with_name("pruning-harness")
    done = subprocess.run(
        [script, "status", "nowhere"], cwd=tmp_path, env=environment(), capture_output=True,
        text=True,
    )  # fmt: skip
    same = python("-m", "harness", "status", "nowhere", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (same.returncode, same.stderr)
    assert done.returncode == 2 and "nowhere" in done.stderr


def test_torchrun_starts_the_module_on_two_ranks(tmp_path) -> None:
    done = harness(*TINY, "progress=plain", f"output_dir={tmp_path}", ranks=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished: ") == 1


def test_torchrun_starts_the_script_on_two_ranks(tmp_path) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--no-python"]
    script = str(Path(sys.executable).with_name("pruning-harness"))
    done = subprocess.run(
        [sys.executable, *launcher, script, *TINY, f"output_dir={tmp_path}"], env=environment(),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished: ") == 1 and len(records_of(only_run(tmp_path))) == 3


def test_a_reader_that_leaves_early_is_no_error(monkeypatch, capfd) -> None:
    def leave(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("harness.cli.run.discard_output", lambda: print("discarded"))
    monkeypatch.setattr(Hydra, "show_cfg", leave)
    assert run_main(monkeypatch, "--cfg", "job") == 0
    assert capfd.readouterr() == ("discarded\n", "")
