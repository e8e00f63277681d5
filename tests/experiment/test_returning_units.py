"""Units that return, or are scored while they train, end with the columns that read them."""

import pytest
import torch
from command import only_run, records_of, run_main
from whole_runs import SMALL

from harness import load

NEURONS = (
    "model.hidden=[6,5]", "structure=neuron", "allocation=uniform", "allocation.min_units=1",
    "schedule.final=0.4", "compact=end",
)  # fmt: skip
INSIDE = ("prune_at=during_training", "gradual.first_step=0", "gradual.last_step=4")
TWICE = ("schedule=geometric", "schedule.levels=2")
PARTS = {
    # Dense again at steps 2 and 3 of 9.
    "ac_dc": ("schedule=ac_dc", *INSIDE, "gradual.interval=2", "retraining.epochs=3"),
    "soft": ("mask_updates=soft", *TWICE),
    "movement": ("saliency=movement", *TWICE),
    "growing_l2": ("penalty=growing_l2", *TWICE),
}


@pytest.mark.parametrize("part", list(PARTS))
def test_columns_that_read_a_removed_unit_end_masked_and_the_smaller_network_is_equal(
    tmp_path, monkeypatch, part
) -> None:
    run = (*SMALL, *NEURONS, *PARTS[part], f"output_dir={tmp_path}")
    assert run_main(monkeypatch, *run) == 0

    folder = only_run(tmp_path)
    (small, _), (masked, masks) = load(folder), load(folder, dense=True)
    for name, reader in (("fc1", "fc2"), ("fc2", "fc3")):
        kept = masks[f"{name}.weight"].any(1)
        assert int(kept.sum()) == 2 and masks[f"{name}.bias"].equal(kept)
        assert not masks[f"{reader}.weight"][:, ~kept].any()
        assert not masked.get_parameter(f"{reader}.weight")[:, ~kept].any()
    inputs = torch.randn(5, 8)
    assert torch.allclose(small(inputs), masked(inputs), atol=1e-6)
    left = sum(parameter.numel() for parameter in small.parameters())
    assert records_of(folder)[-1].parameters == left == 2 * 9 + 2 * 3 + 4 * 3
