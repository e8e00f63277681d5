import math

import pandas as pd
import pytest
from claimed_runs import claimed, run, verdict
from conftest import cases
from survey_records import make, write_run

from harness.report.claims import check
from harness.report.claims.claim import Claim, claims
from harness.report.claims.treatments import GROUPS
from harness.report.read.load import load
from harness.report.read.survey import Survey

LRR = "lr_rewinding_beats_fine_tuning"


def test_the_effect_is_the_mean_paired_difference_with_a_t_interval_over_seeds(tmp_path) -> None:
    run(tmp_path, "FT", [0.80, 0.81, 0.82])
    run(tmp_path, "LRR", [0.81, 0.83, 0.85], finetune="lr_rewind")
    row = claimed(tmp_path, LRR)
    assert row["verdict"] == "within noise"
    # 1, 2 and 3 points: mean 2, std 1, t(0.975, 2) = 4.303.
    assert row["effect_points"] == pytest.approx(2)
    assert row["low"] == pytest.approx(2 - 4.303 / math.sqrt(3), abs=1e-3)
    assert row["high"] == pytest.approx(2 + 4.303 / math.sqrt(3), abs=1e-3)
    assert (row["seeds"], row["cells"]) == (3, 1)
    assert row["detail"].startswith("lr_rewind against keep +2.00 [-0.48, +4.48] (3 seeds, 1 cell")


@cases("top1, said", ([0.81, 0.812, 0.811], "supported"), ([0.79, 0.792, 0.791], "contradicted"))
def test_a_clear_difference_supports_or_contradicts(tmp_path, top1, said) -> None:
    run(tmp_path, "FT", [0.80, 0.80, 0.80])
    run(tmp_path, "LRR", top1, finetune="lr_rewind")
    assert verdict(tmp_path, LRR) == said


def test_a_tolerated_loss_supports_a_claim_of_not_worse(tmp_path) -> None:
    run(tmp_path, "WR", [0.80, 0.80, 0.80], finetune="weight_rewind")
    run(tmp_path, "LRR", [0.798, 0.7981, 0.7979], finetune="lr_rewind")
    key = "lr_rewinding_not_worse_than_weight_rewinding"
    row = claimed(tmp_path, key)
    assert row["effect_points"] == pytest.approx(-0.2)
    assert row["verdict"] == "supported"


def test_one_seed_tests_nothing_and_says_so(tmp_path) -> None:
    run(tmp_path, "FT", [0.80])
    run(tmp_path, "LRR", [0.85], finetune="lr_rewind")
    row = claimed(tmp_path, LRR)
    assert row["verdict"] == "not testable"
    assert math.isnan(row["effect_points"])
    assert row["detail"].startswith("1 cells with one seed only: mean difference +5.00")
    assert row["way"] == "pruning-harness -m sweep=retraining"


def test_two_seeds_are_flagged(tmp_path) -> None:
    run(tmp_path, "FT", [0.80, 0.80])
    run(tmp_path, "LRR", [0.85, 0.85], finetune="lr_rewind")
    row = claimed(tmp_path, LRR)
    assert row["verdict"] == "supported"
    assert "only 2 seeds: the interval is wide" in row["detail"]


@cases(
    "other",
    {"saliency": "random"}, {"allocation": "uniform"}, {"extra": {"exclude": ["last"]}},
    {"extra": {"training": {"epochs": 3}}}, {"model": "lenet_300_100"},
    {"requested_compression": 8.0}, {"control": "shuffled"}, {"requested_counts": "macs"},
)  # fmt: skip
def test_results_that_differ_in_more_than_the_claim_are_not_compared(tmp_path, other) -> None:
    run(tmp_path, "FT", [0.80, 0.80, 0.80])
    run(tmp_path, "LRR", [0.85, 0.85, 0.85], finetune="lr_rewind", **other)
    assert verdict(tmp_path, LRR) == "not testable"


def test_what_a_run_keeps_and_does_not_use_does_not_matter(tmp_path) -> None:
    run(tmp_path, "FT", [0.80, 0.80, 0.80], extra={"dense_checkpoints": [2]})
    # steps is of pruning inside a training only.
    there = {"dense_checkpoints": [], "gradual": {"interval": 50}}
    run(tmp_path, "LRR", [0.85, 0.85, 0.85], finetune="lr_rewind", extra=there)
    assert verdict(tmp_path, LRR) == "supported"


def test_seeds_are_the_units_not_cells(tmp_path) -> None:
    for asked, gain in ((4.0, 0.0), (8.0, 0.02)):
        run(tmp_path, "FT", [0.8, 0.8], requested_compression=asked)
        run(tmp_path, "LRR", [0.8 + gain] * 2, finetune="lr_rewind", requested_compression=asked)
    row = claimed(tmp_path, LRR)
    # 0 and 2 points in each of both seeds: each seed's mean is 1.
    assert (row["effect_points"], row["seeds"], row["cells"]) == (pytest.approx(1), 2, 2)
    assert row["low"] == pytest.approx(1)


def test_failed_seeds_do_not_count(tmp_path) -> None:
    run(tmp_path, "FT", [0.80, 0.80, 0.80])
    run(tmp_path, "LRR", [0.85, 0.85, math.nan], finetune="lr_rewind")
    assert claimed(tmp_path, LRR)["seeds"] == 2


def test_without_configs_methods_are_known_by_name(tmp_path) -> None:
    for method, top1 in (("random", 0.7), ("global_magnitude", 0.8)):
        for seed in (0, 1, 2):
            same = {"seed": seed, "label": method, "setting": method, "method": method}
            row = make(**same, requested_compression=8.0, top1=top1 + 0.001 * seed)
            write_run(tmp_path / method / str(seed), row)
    row = claimed(tmp_path, "random_is_worst")
    assert (row["verdict"], row["effect_points"]) == ("supported", pytest.approx(10))
    assert verdict(tmp_path, LRR) == "not testable"


@cases(
    "identity",
    "{",
    "5",
    '{"hashed_config": 5}',
    '{"hashed_config": {"saliency": 5, "schedule": null}}',
)
def test_a_damaged_identity_tells_nothing(tmp_path, identity) -> None:
    run(tmp_path, "FT", [0.8])
    (tmp_path / "FT 4 0" / "identity.json").write_text(identity)
    assert set(check(load(tmp_path))["verdict"]) == {"not testable"}


def test_a_zero_epoch_of_weight_rewinding_is_the_initial_network(tmp_path) -> None:
    for name, epoch, top1 in (("late", 3, 0.85), ("init", 0, 0.80)):
        target = {"_target_": "harness.finetune.weight_rewind.WeightRewind", "epoch": epoch}
        run(tmp_path, name, [top1, top1], extra={"finetune": target})
    assert verdict(tmp_path, "late_rewinding_beats_rewinding_to_init") == "supported"


def test_every_claim_has_its_words_and_only_known_columns() -> None:
    keys = [claim.key for claim in claims()]
    assert len(set(keys)) == len(keys) >= 15
    for claim in claims():
        assert all((claim.claim, claim.source, claim.published, claim.fails, claim.way))
        assert {*claim.better, *claim.than, *claim.among} <= set(GROUPS)
        assert claim.name in {*GROUPS, "label"}
        assert claim.way.startswith("pruning-harness -m ")


def test_a_claim_of_an_unknown_kind_is_refused() -> None:
    words = dict.fromkeys(("key", "claim", "source", "published", "fails", "way"), "x")
    with pytest.raises(ValueError, match="claim x: kind must be one of pairs"):
        Claim(**words, better={}, than={}, among={}, differ=[], name="label", kind="odd")


def test_a_folder_without_results_tests_nothing(tmp_path) -> None:
    nothing = pd.DataFrame(columns=["model", "data", "level", "label"])
    found = check(Survey(tmp_path, nothing, nothing, nothing, []))
    assert set(found["verdict"]) == {"not testable"}


def test_the_table_has_a_row_per_claim(tmp_path) -> None:
    run(tmp_path, "FT", [0.8])
    found = check(load(tmp_path))
    assert isinstance(found, pd.DataFrame)
    assert found["key"].tolist() == [claim.key for claim in claims()]
    assert set(found["verdict"]) == {"not testable"}
