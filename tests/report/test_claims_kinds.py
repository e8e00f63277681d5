"""Claims that are more than one paired difference."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from claimed_runs import claimed, run, verdict

from harness.report.claims.verdict import interval, judge


def init(runs: Path, name: str, saliency: str, top1: list[float], **changes: Any) -> None:
    run(runs, name, top1, saliency=saliency, prune_at="init", **changes)


def test_random_is_worst_only_if_no_method_is_below_it(tmp_path) -> None:
    run(tmp_path, "Random", [0.70, 0.70, 0.70], saliency="random", requested_compression=8.0)
    run(tmp_path, "Magnitude", [0.80, 0.80, 0.80], requested_compression=8.0)
    assert verdict(tmp_path, "random_is_worst") == "supported"

    run(tmp_path, "Fisher", [0.69, 0.69, 0.69], saliency="fisher", requested_compression=8.0)
    row = claimed(tmp_path, "random_is_worst")
    assert row["verdict"] == "contradicted"
    assert row["effect_points"] == pytest.approx(-1)
    assert row["detail"].startswith("the first of 2 comparisons decides; Fisher against Random")


def test_random_may_win_below_5_6x_and_over_collapsed_networks(tmp_path) -> None:
    for asked in (4.0, 8.0):
        run(tmp_path, "Random", [0.7, 0.7], saliency="random", requested_compression=asked)
    run(tmp_path, "Magnitude", [0.6, 0.6], requested_compression=4.0)
    lost = {"requested_compression": 8.0, "empty_layers": ["fc.weight"]}
    run(tmp_path, "Magnitude", [0.1, 0.1], **lost)
    assert verdict(tmp_path, "random_is_worst") == "not testable"


def test_collapse_at_init_is_tested_only_where_something_collapsed(tmp_path) -> None:
    key = "magnitude_at_init_collapses_first"
    init(tmp_path, "SNIP", "weight_gradient", [0.8, 0.8], requested_compression=32.0)
    init(tmp_path, "Magnitude", "magnitude", [0.5, 0.5], requested_compression=32.0)
    assert verdict(tmp_path, key) == "not testable"
    assert "has an empty layer" in claimed(tmp_path, key)["detail"]

    lost = {"requested_compression": 64.0, "effective_density": 0.0}
    init(tmp_path, "SNIP", "weight_gradient", [0.7, 0.7], requested_compression=64.0)
    init(tmp_path, "Magnitude", "magnitude", [0.1, 0.1], **lost)
    row = claimed(tmp_path, key)
    assert (row["verdict"], row["cells"]) == ("supported", 1)
    assert row["effect_points"] == pytest.approx(60)


def test_synflow_is_compared_with_one_shot_scores_though_it_takes_rounds(tmp_path) -> None:
    init(tmp_path, "SynFlow", "synflow", [0.8, 0.8], requested_compression=32.0)
    init(tmp_path, "SNIP", "weight_gradient", [0.7, 0.7], requested_compression=32.0)
    assert verdict(tmp_path, "synflow_is_best_at_extreme_compression") == "supported"
    assert verdict(tmp_path, "pruning_at_init_beats_random") == "not testable"


def test_magnitude_after_training_is_set_against_pruning_at_init(tmp_path) -> None:
    init(tmp_path, "SNIP", "weight_gradient", [0.7, 0.7], epochs=2)
    run(tmp_path, "Magnitude", [0.8, 0.8])
    row = claimed(tmp_path, "pruning_at_init_loses_to_magnitude_after_training")
    assert row["verdict"] == "supported"
    assert "2 epochs of training in all against 3" in row["detail"]


def test_a_shuffled_mask_may_lose_half_a_point(tmp_path) -> None:
    init(tmp_path, "SNIP", "weight_gradient", [0.8, 0.8])
    init(tmp_path, "SNIP shuffled", "weight_gradient", [0.796, 0.796], control="shuffled")
    key = "shuffling_does_not_hurt_pruning_at_init"
    assert verdict(tmp_path, key) == "supported"
    init(tmp_path, "SNIP new", "weight_gradient", [0.794, 0.794], control="reinitialised")
    assert verdict(tmp_path, key) == "contradicted"


def test_several_levels_are_set_against_one_shot_with_rewinding_only(tmp_path) -> None:
    for finetune, gain in (("weight_rewind", 0.01), ("keep", -0.05)):
        same = {"finetune": finetune, "requested_compression": 8.0}
        run(tmp_path, f"{finetune} at once", [0.8, 0.8], **same)
        run(tmp_path, f"{finetune} slowly", [0.8 + gain] * 2, schedule="geometric", **same)
    row = claimed(tmp_path, "iterative_beats_one_shot_with_rewinding")
    assert (row["verdict"], row["cells"]) == ("supported", 1)
    assert row["detail"].startswith("weight_rewind +1.00")


def test_filters_from_scratch_are_set_against_fine_tuning(tmp_path) -> None:
    run(tmp_path, "FT", [0.8, 0.8], structure="filter")
    run(tmp_path, "Scratch", [0.798, 0.798], structure="filter", finetune="scratch_b")
    assert verdict(tmp_path, "scratch_matches_fine_tuning_of_units") == "supported"
    assert verdict(tmp_path, "reinit_is_the_worst_retraining") == "not testable"


def test_retraining_is_set_against_the_same_network_before_it(tmp_path) -> None:
    run(tmp_path, "Magnitude", [0.8, 0.8], before=0.5)
    row = claimed(tmp_path, "retraining_recovers")
    assert (row["verdict"], row["effect_points"]) == ("supported", pytest.approx(30))


def test_without_retraining_there_is_nothing_to_recover(tmp_path) -> None:
    run(tmp_path, "Magnitude", [0.8, 0.8], stage="pruned")
    assert verdict(tmp_path, "retraining_recovers") == "not testable"


def test_a_little_pruning_is_set_against_retraining_without_pruning(tmp_path) -> None:
    key = "small_sparsity_can_raise_accuracy"
    run(tmp_path, "Magnitude", [0.91, 0.91], requested_compression=2.0)
    # The dense networks have 90 %.
    assert claimed(tmp_path, key)["effect_points"] == pytest.approx(1)
    run(tmp_path, "Magnitude", [0.92, 0.92], requested_compression=1.0)
    row = claimed(tmp_path, key)
    assert (row["verdict"], row["effect_points"]) == ("contradicted", pytest.approx(-1))
    # One method is enough: the claim is that it can.
    run(tmp_path, "Random", [0.95, 0.95], saliency="random", requested_compression=2.0)
    assert verdict(tmp_path, key) == "supported"


def test_at_equal_speedup_the_other_curve_is_interpolated(tmp_path) -> None:
    for asked, speedup, top1 in ((4.0, 2.0, 0.9), (16.0, 8.0, 0.8)):
        run(tmp_path, "Global", [top1] * 2, requested_compression=asked, speedup=speedup)
    # Halfway from 2 to 8 by its logarithm, where Global has 85 %.
    layers = {"allocation": "uniform", "requested_compression": 4.0, "speedup": 4.0}
    run(tmp_path, "Layerwise", [0.87] * 2, **layers)
    row = claimed(tmp_path, "layerwise_beats_global_at_equal_speedup")
    assert (row["verdict"], row["cells"]) == ("supported", 1)
    assert row["effect_points"] == pytest.approx(2)
    # Beyond the other curve's end there is nothing to compare with.
    far = {"allocation": "uniform", "requested_compression": 64.0, "speedup": 32.0}
    run(tmp_path, "Layerwise", [0.1] * 2, **far)
    assert claimed(tmp_path, "layerwise_beats_global_at_equal_speedup")["cells"] == 1


def differences(**comparisons: list[float]) -> pd.DataFrame:
    rows = [
        {"comparison": name, "cell": "one", "seed": seed, "points": points}
        for name, values in comparisons.items()
        for seed, points in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_one_comparison_of_many_must_clear_a_wider_interval() -> None:
    # Mean -2, std 0.5, n 3: 95 % reaches -0.76, and 99.5 % (of 10 comparisons) beyond 0.
    below = [-2.5, -2.0, -1.5]
    assert judge(differences(a=below), 0, "all").verdict == "contradicted"
    others = {f"b{n}": [1.0, 1.0, 1.0] for n in range(9)}
    assert judge(differences(a=below, **others), 0, "all").verdict == "within noise"
    above = [-points for points in below]
    assert judge(differences(a=above), 0, "any").verdict == "supported"
    others = {f"b{n}": [-1.0, -1.0, -1.0] for n in range(9)}
    assert judge(differences(a=above, **others), 0, "any").verdict == "within noise"


def test_equal_results_are_no_support() -> None:
    assert judge(differences(a=[0.0, 0.0, 0.0]), 0, "all").verdict == "within noise"


def test_the_least_certain_comparison_comes_first() -> None:
    found = judge(differences(sure=[1.0, 1.0, 1.0], unsure=[0.0, 3.0, 6.0]), 0, "all")
    assert [effect.comparison for effect in found.effects] == ["unsure", "sure"]


def test_an_interval_needs_two_values() -> None:
    assert all(math.isnan(end) for end in interval([1.0]))
    assert interval([2.0, 2.0]) == (2.0, 2.0)
