"""A program of the fork server ends, and is told of, as a real process is."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import environment, python

THREAD = (
    "import threading, time; threading.Thread(target=lambda: (time.sleep(0.1), print(2))).start()"
)
ENDS = {
    "done": "print('said'); import sys; print('told', file=sys.stderr)",
    "own status": "import sys; sys.exit(75)",
    "a line as the status": "import sys; sys.exit('refused')",
    "left at once": "import os; print('lost'); os._exit(9)",
    "Ctrl-C": "raise KeyboardInterrupt",
    "terminated": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "warning as an error": "import warnings; warnings.simplefilter('error'); warnings.warn('odd')",
    "at its end": "import atexit; atexit.register(print, 'late')",
    "a thread outlives the program": (
        "import threading, time\nthreading.Timer(0.1, lambda: print(2)).start()"
    ),
}


def _real(*arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments], env=environment(), cwd=cwd, capture_output=True, text=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("code", ENDS.values(), ids=list(ENDS))
def test_it_ends_as_a_real_process(code) -> None:
    there, here = _real("-c", code), python("-c", code)
    assert (here.returncode, here.stdout) == (there.returncode, there.stdout)
    # The frames of an error are others, as it is found deeper.
    assert here.stderr.splitlines()[-1:] == there.stderr.splitlines()[-1:]


ABOUT = """\
import os, random, signal, sys, threading
import torch
print(sys.argv, sys.orig_argv[1:], sys.path[:3], __name__, os.getcwd(), os.environ.get("MINE"))
print({number: signal.getsignal(number) for number in signal.Signals})
print(signal.pthread_sigmask(signal.SIG_BLOCK, []), threading.active_count())
print(torch.get_num_threads(), sorted(os.listdir("/proc/self/fd")))
print(sys.stdin.read(), sys.stdout.isatty(), sys.stdout.line_buffering, sys.flags, sys.warnoptions)
"""


@pytest.mark.parametrize("way", ["-c", "-m", "a file"])
def test_it_finds_what_a_real_process_finds(tmp_path, way) -> None:
    (tmp_path / "about.py").write_text(ABOUT)
    start = {"-c": ("-c", ABOUT), "-m": ("-m", "about"), "a file": (str(tmp_path / "about.py"),)}
    there, here = (run(*start[way], "one", "two words", cwd=tmp_path) for run in (_real, python))

    assert here.stderr == there.stderr == ""
    assert here.stdout == there.stdout


def test_nothing_of_a_program_reaches_the_next(tmp_path) -> None:
    spoil = "import os, random, harness, torch; os.chdir('/'); os.environ['MINE'] = '1'; "
    python("-c", spoil + "harness.mine = 1; torch.manual_seed(5); random.seed(1)")
    code = (
        "import os, random, harness, torch; print(os.environ.get('MINE'), hasattr(harness, 'mine'))"
    )
    code += "; print(random.random(), torch.initial_seed(), file=open('drawn', 'a'))"
    first, second = (python("-c", code, cwd=tmp_path) for _ in range(2))
    assert first.stdout == second.stdout == "None False\n"
    assert len({*(tmp_path / "drawn").read_text().split()}) == 4


def test_after_the_timeout_the_program_and_what_it_has_started_are_gone(tmp_path) -> None:
    code = "import os, subprocess, sys; child = subprocess.Popen(['sleep', '600']); "
    code += "print(os.getpid(), child.pid, file=open('pids', 'w'), flush=True); child.wait()"
    with pytest.raises(subprocess.TimeoutExpired):
        python("-c", code, cwd=tmp_path, timeout=2)
    for pid in map(int, (tmp_path / "pids").read_text().split()):
        end = time.monotonic() + 30
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < end, f"{pid} is left"
            time.sleep(0.02)


def test_what_python_reads_at_its_start_makes_it_a_real_process() -> None:
    code = "import sys; print(sys.flags.optimize, 'torch' in sys.modules)"
    assert python("-c", code).stdout == "0 True\n"
    assert python("-c", code, PYTHONOPTIMIZE="1").stdout == "1 False\n"
