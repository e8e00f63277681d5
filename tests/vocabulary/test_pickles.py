"""A pickle that others have written is read as data."""

import pickle
from pathlib import Path

import pytest
from payload import Payload

from harness.launch.backends.slurm import _read_result
from harness.run_folder.outcome import Outcome
from harness.vocabulary.given.unpickling import ARRAYS, restricted_load


class Job:
    """Has what a job of submitit has."""

    job_id = "7"

    def __init__(self, result: Path):
        self.paths = type("Paths", (), {"result_pickle": result, "stderr": "log"})


def test_a_jobs_result_is_read_as_data(tmp_path) -> None:
    file = tmp_path / "result.pkl"
    found = Outcome("finished", "x", test=0.5)
    for content, state in (
        (("success", found), "finished"),
        (("error", "Traceback\nValueError: no"), "failed"),
        (("success", Payload(tmp_path / "pwned")), "failed"),
        (Payload(tmp_path / "pwned"), "failed"),
        ((), "failed"),
    ):
        file.write_bytes(pickle.dumps(content))
        assert _read_result(Job(file), tmp_path).state == state  # type: ignore[arg-type]
    file.write_bytes(b"not a pickle")
    assert _read_result(Job(file), tmp_path).state == "failed"
    assert not (tmp_path / "pwned").exists()


def test_a_pickled_data_set_holds_arrays_only(tmp_path) -> None:
    import numpy as np

    file = tmp_path / "data_batch_1"
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        entry = {"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "labels": [0, 1]}
        file.write_bytes(pickle.dumps(entry, protocol))
        with file.open("rb") as opened:
            assert restricted_load(opened, ARRAYS, "latin1")["data"].tolist() == [
                [0, 1, 2],
                [3, 4, 5],
            ]
    file.write_bytes(pickle.dumps({"data": Payload(tmp_path / "pwned")}))
    with file.open("rb") as opened, pytest.raises(pickle.UnpicklingError, match="it would use"):
        restricted_load(opened, ARRAYS)
    assert not (tmp_path / "pwned").exists()
