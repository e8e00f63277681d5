"""A density of a run: of what may be pruned after `exclude`, as by the Python API."""

import torch
from command import only_run, records_of, run_main
from whole_runs import whole_run

import harness


def test_a_run_records_what_its_density_is_of_and_prunes_as_a_call_does(tmp_path) -> None:
    whole = whole_run(tmp_path, "exclude=[fc2]", "allocation=uniform", "finetune=none")
    pruned = whole.record(1, "pruned")
    # Half of the 48 weights of fc1; the 24 of fc2 and 10 biases stay.
    assert (pruned.density, pruned.requested_density) == (0.5, 0.5)
    assert pruned.density_of == "weights, without fc2"
    spared_none = whole_run(tmp_path, "finetune=none").record(1, "pruned")
    assert spared_none.density_of == "weights, with output layer fc2"
    assert pruned.layers == {"fc1.weight": 0.5, "fc2.weight": 1.0}
    assert (pruned.density_of_weights, pruned.compression) == (48 / 72, 82 / 58)
    network = whole.levels.context.workload.initial_model()
    network.load_state_dict(whole.networks[0, "dense"])
    masks = harness.prune(network, 0.5, allocation="uniform", exclude=["fc2"])
    assert torch.equal(masks["fc1.weight"], whole.masks[1, "pruned"]["fc1.weight"])


def test_transformer_wanda_keeps_half_of_every_layer_but_the_last(tmp_path, monkeypatch) -> None:
    small = ("model.width=8", "model.heads=2", "model.depth=1", "data.context=16")
    parts = ("data.train=0.02", "data.validation=0.01", "data.test=0.01", "training.epochs=0")
    rest = ("calibration.samples=32", "tracking=none", f"output_dir={tmp_path}")
    assert run_main(monkeypatch, "experiment=transformer_wanda", *small, *parts, *rest) == 0
    *layers, last = records_of(only_run(tmp_path))[-1].layers.values()
    assert len(layers) == 6 and set(layers) == {0.5} and last == 1.0
