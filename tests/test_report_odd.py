"""Odd but legal input: what failed throughout, what is damaged beside the records."""

import math
from pathlib import Path

import pytest
import safetensors.numpy
from test_report import dense, make, write_run

from harness.report import claims, report
from harness.report.lint import check
from harness.report.survey import load

NAN = {"top1": math.nan, "top5": math.nan, "loss": math.nan}


def test_a_survey_in_which_all_has_failed_is_reported_and_checked(tmp_path: Path) -> None:
    for seed in range(2):
        nothing = {**NAN, "seed": seed, "validation_loss": None}
        write_run(tmp_path / str(seed), dense(**nothing), make(**nothing))
    assert report(tmp_path)
    rules = check(load(tmp_path)).set_index("item")
    assert str(rules.loc["same dense weights", "evidence"]).endswith("(2 in all)")


DAMAGED = {
    "environment.json": b'{"numerics_key": null, "packages": null, "hardware": 1, "command": 2}',
    "identity.json": b'{"science": null}',
    "timings.jsonl": b'{"event": "latency", "level": 1} \xff\n',
    "masks.safetensors": safetensors.numpy.save({}),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_beside_the_records_keeps_no_report_from_being_made(
    name: str, tmp_path: Path
) -> None:
    write_run(tmp_path / "0", dense(), make())
    (tmp_path / "0" / name).write_bytes(DAMAGED[name])
    assert report(tmp_path)


def test_an_empty_config_is_named_where_claims_need_it(tmp_path: Path) -> None:
    write_run(tmp_path / "0", dense(), make())
    (tmp_path / "0" / "config.yaml").write_text("")
    with pytest.raises(ValueError, match="0/config.yaml holds no config"):
        claims.check(load(tmp_path))
