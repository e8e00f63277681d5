"""JSON that is nested too deeply for Python is damage like any other, in every file."""

from pathlib import Path

import pytest
from conftest import cases

import harness
from harness.launch.sweeps.plan import Plan
from harness.report.read import folders
from harness.run_folder import curve_records, outcome, overview, progress_file, records
from harness.system.atomic_files import read_json, read_object
from harness.system.manifest import Manifest
from harness.vocabulary.given.latency_table import read_latency_table

DEEP = "[" * 100_000 + "]" * 100_000 + "\n"
# Their texts were made by this program a moment ago, or travel between its ranks.
OWN_TEXTS = {
    *("state", "watchdog", "rendezvous", "redaction", "outcome", "artifacts", "json_schema"),
    "latency_table",  # below harness.system; it refuses such a file itself
}


@pytest.fixture
def file(tmp_path) -> Path:
    for name in ("status.json", "progress.json", "timings.jsonl", "records.jsonl"):
        (tmp_path / name).write_text(DEEP)
    return tmp_path / "records.jsonl"


@cases("read", read_json, read_object, records.read, curve_records.read, Plan.read)
def test_the_error_names_the_file(read, file) -> None:
    with pytest.raises(ValueError, match=r"records\.jsonl.*nested too deeply"):
        read(file)


@cases(
    "read",
    Manifest.read,
    lambda file: progress_file.read(file.parent),
    lambda file: outcome._measured(file)[0],
    lambda file: overview._seconds(file.parent),
    lambda file: folders._parsed(file.read_bytes()) or None,
)
def test_a_file_on_which_nothing_depends_counts_as_missing(read, file) -> None:
    assert read(file) is None


def test_a_latency_table_is_refused_by_name(file) -> None:
    with pytest.raises(ValueError, match=r"latency_table=.*records\.jsonl cannot be read"):
        read_latency_table(file)


def test_files_are_parsed_by_the_function_that_says_so() -> None:
    home = Path(str(harness.__file__)).parent
    found = {file.stem for file in home.rglob("*.py") if "json.loads(" in file.read_text()}
    assert found <= OWN_TEXTS
