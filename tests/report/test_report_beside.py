"""Tests what a report does in processes beside it: their errors, their end."""

import os
import subprocess
import sys

import pytest
from command import environment
from survey_records import dense, make, write_run

from harness.report import report
from harness.report.page.library import library
from harness.report.write import _worker_pool


def test_two_calls_go_on_beside_the_body_and_the_next_ones_find_their_processes_again() -> None:
    found = []
    for _ in range(2):
        with _worker_pool() as pool:
            found.append(pool.submit(os.getpid).result())
    assert os.getpid() not in found and len(set(found)) <= 2


def test_what_a_call_raises_is_raised_here_and_others_can_be_made() -> None:
    with pytest.raises(ZeroDivisionError), _worker_pool() as pool:
        pool.submit(divmod, 1, 0).result()
    with _worker_pool() as pool:
        assert pool.submit(abs, -3).result() == 3


def test_a_process_that_is_gone_is_told_in_one_line_and_replaced() -> None:
    for _ in range(2):
        with (
            pytest.raises(OSError, match="ended before its work was done; "),
            _worker_pool() as pool,
        ):
            pool.submit(os._exit, 7).result()


def test_a_script_needs_no_guard_around_a_report(tmp_path) -> None:
    write_run(tmp_path / "0", dense(), make())
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\nfrom harness.report import report\n"
        "print('once', len(report(Path('.'))))\n"
    )
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.stdout.count("once") == 1, done.stderr


def test_a_report_that_cannot_draw_leaves_no_process(tmp_path, monkeypatch) -> None:
    write_run(tmp_path / "0", dense(), make())
    with _worker_pool() as pool:
        before = pool.submit(os.getpid).result()
    monkeypatch.setattr("harness.report.write._into_place", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report(tmp_path)
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.kill(before, 0)
            subprocess.run(["sleep", "0.05"], check=True)


def test_without_its_library_the_page_says_how_to_get_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(OSError, match="could not bundle Vega-Lite .*; reinstall it with pip"):
        library.__wrapped__()
