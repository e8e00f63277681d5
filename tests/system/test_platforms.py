"""Checks that other operating systems get one line, and no traceback from what they lack."""

import subprocess
import sys

from command import environment
from conftest import cases

# What Python lacks there, taken away before the harness is imported.
ELSEWHERE = """
import os, signal, sys
for name in ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGKILL", "pthread_sigmask"):
    delattr(signal, name)
for name in ("fork", "getuid", "sched_getaffinity", "O_NOFOLLOW", "O_DIRECTORY"):
    delattr(os, name)
for name in ("fcntl", "resource", "termios", "pwd", "grp"):
    sys.modules[name] = None
sys.platform = {platform!r}
from harness.cli.main import main
sys.exit(main({words!r}))
"""


@cases(
    "platform, words", ("win32", []), ("win32", ["report", "runs"]), ("cygwin", ["-m", "seed=1"])
)
def test_another_system_is_refused_in_one_line(platform, words) -> None:
    code = ELSEWHERE.format(platform=platform, words=words)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"harness: sys.platform={platform}: pruning-harness needs Linux")
