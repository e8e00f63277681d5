"""Records the functions of harness/ that each test file reaches, and its time.

This file is copied as sitecustomize.py into the tested copy, so that every Python process started
there loads it. pytest loads it as a plugin. It writes lines to the file named by MUTATION_REACHED,
divided by tabs: reached, test file, source file, function; or took, test file, seconds; or failed,
test. PYTEST_DONT_REWRITE: it is imported before pytest.
"""

import inspect
import os
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

OUT = os.environ.get("MUTATION_REACHED")
HOME = str(Path(__file__).parent)
SOURCES = f"{HOME}/harness/"

seen: dict[int, CodeType] = {}  # kept, so that no other code gets the same id
# In a process started by a test: the test that pytest was running.
now = {"file": os.environ.get("PYTEST_CURRENT_TEST", "").split("::")[0]}


def note(*fields: object) -> None:
    with open(str(OUT), "a") as file:  # a short line appended is whole, also beside others
        file.write("\t".join(map(str, fields)) + "\n")


def on_call(frame: FrameType, event: str, argument: Any) -> None:
    """Handles every call; returns None, so that lines are not traced."""
    code = frame.f_code
    if id(code) in seen:
        return
    seen[id(code)] = code
    # Bodies of modules and classes do not count: they run once for all tests.
    function = code.co_flags & inspect.CO_OPTIMIZED
    if function and code.co_filename.startswith(SOURCES) and now["file"]:
        note("reached", now["file"], code.co_filename[len(HOME) + 1 :], code.co_qualname)


def pytest_runtest_logstart(nodeid: str, location: object) -> None:
    file = nodeid.split("::")[0]
    if file != now["file"]:
        now["file"] = file
        seen.clear()
    sys.settrace(on_call)  # a test may have taken it away


def pytest_runtest_logreport(report: Any) -> None:
    note("took", report.nodeid.split("::")[0], report.duration)
    if report.failed:
        note("failed", report.nodeid)


if OUT:
    threading.settrace(on_call)
    sys.settrace(on_call)
