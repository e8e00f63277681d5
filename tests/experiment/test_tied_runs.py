"""Runs that prune heads together with their part of the width."""

import pytest
from rehearsing import prepared
from whole_runs import whole_run

RUN = (
    "model._target_=attentions.Tied", "model.hidden=[12]", "structure=group",
    "structure.norms=living", "allocation=uniform", "allocation.min_units=1", "compact=levels",
    "training.epochs=1",
)  # fmt: skip


def test_heads_and_width_go_at_a_level_and_the_smaller_network_trains(tmp_path) -> None:
    whole = whole_run(tmp_path, *RUN, "schedule.final=0.7")
    # Of 3 heads with 4 channels each, 2 are left; of 10 inner units, 7.
    shapes = {name: tuple(p.shape) for name, p in whole.networks[1, "finetuned"].items()}
    assert shapes["1.weight"] == (8, 1) and shapes["4.weight"][1] == 8 * 8
    assert shapes["2.self_attn.in_proj_weight"] == (24, 8)
    assert shapes["2.linear1.weight"] == (7, 8)
    assert whole.of(1)[-1].gradients["2.self_attn.out_proj.weight"].shape == (8, 8)
    assert (
        whole.record(1, "pruned").parameters
        == whole.record(1, "finetuned").parameters
        == sum(p.numel() for p in whole.networks[1, "finetuned"].values())
    )


@pytest.mark.parametrize("unit", ["compression", "speedup"])
def test_a_size_that_less_than_a_head_would_have_is_refused_before_training(unit) -> None:
    with pytest.raises(ValueError, match="min_units") as error:
        prepared(*RUN, f"schedule.unit={unit}", "schedule.final=200")
    assert "\n" not in str(error.value)
