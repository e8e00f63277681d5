"""Inputs by name: a dictionary of tensors is trained on, pruned and exported as one tensor is."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from command import only_run, records_of, run_main
from forked_ranks import harness_on_ranks
from two_inputs import Data, TwoInputs

import harness
from harness.extras import EXTRAS
from harness.task.classification import Classification
from harness.vocabulary.given.inputs import call_model

RUN = (
    "data=named_inputs", "model=named_inputs", "training.epochs=1", "retraining.epochs=1",
    "calibration.samples=16", "training.batch_size=16", "retraining.batch_size=16",
    "tracking=none", "schedule=one_shot", "schedule.final=0.5",
)  # fmt: skip
SAME = ("masks", "density", "effective_density", "parameters", "macs", "dead_units", "top1", "loss")


@pytest.fixture(name="groups")
def fixture_groups(tmp_path: Path) -> str:
    """Returns a folder with a model and a data set, as a user adds them."""
    for group, part in (("model", "Model"), ("data", "Data")):
        file = tmp_path / "own" / group / "named_inputs.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(f"_target_: two_inputs.{part}\njoined: false\n")
    return f"--config-dir={tmp_path / 'own'}"


def test_single_weights_of_two_inputs_are_those_of_one(tmp_path, monkeypatch, groups) -> None:
    found = []
    for joined in ("false", "true"):
        words = [*RUN, groups, f"model.joined={joined}", f"data.joined={joined}", "dtype=float64"]
        folder = tmp_path / joined
        words += ["saliency=gradient", "rehearse=true", f"output_dir={folder}"]
        assert run_main(monkeypatch, *words) == 0
        found.append(records_of(only_run(folder)))
    for one, other in zip(*found, strict=True):
        assert [getattr(one, name) for name in SAME] == [getattr(other, name) for name in SAME]
    assert found[0][-1].density == 0.5


def test_two_ranks_leave_the_smaller_model_of_one_input_and_export_it(
    tmp_path, monkeypatch, groups
) -> None:
    words = [
        *RUN, groups, "rehearse=false", "distillation=hinton", "structure=neuron", "compact=end",
        "saliency=taylor_group", "allocation.min_units=1",
    ]  # fmt: skip
    formats = "onnx" if all(find_spec(name) for name in EXTRAS["export"]) else "torch_export"
    done = harness_on_ranks(2, *words, f"export=[{formats}]", f"output_dir={tmp_path / 'two'}")
    assert done.returncode == 0, done.stderr
    joined = [f"{group}.joined=true" for group in ("model", "data")]
    assert run_main(monkeypatch, *words, *joined, f"output_dir={tmp_path / 'one'}") == 0
    home = only_run(tmp_path / "two")
    masks = [record.masks for record in records_of(home)]
    assert masks == [record.masks for record in records_of(only_run(tmp_path / "one"))]
    small, _ = harness.load(home, "two_inputs")
    assert call_model(small, next(iter(Data().load().test.batches([torch.arange(5)])))[0]).shape
    widths = [len(small.get_parameter(f"{layer}.weight")) for layer in ("conv", "vector")]
    assert 2 <= sum(widths) < 4 + 6
    assert len(list((home / "export").iterdir())) == 1


def test_the_python_api_takes_inputs_by_name() -> None:
    torch.manual_seed(0)
    model, split = TwoInputs(3), Data().load().train
    batches = list(split.batches(torch.arange(32).split(16)))
    loss = Classification().loss
    scores = harness.score(model, "gradient", batches=batches, loss=loss)
    assert scores.keys() == {"conv.weight", "vector.weight", "out.weight"}
    for saliency in ("synflow", "fisher", "wanda", "hutchinson"):
        assert harness.score(model, saliency, batches=batches, loss=loss, exclude="first")
    more = {"saliency": "taylor_activation", "structure": "neuron", "loss": loss}
    masks = harness.prune(model, 0.5, batches=batches, **more)
    small = harness.compact(model, masks, batches[0][0])
    torch.testing.assert_close(call_model(small, batches[1][0]), call_model(model, batches[1][0]))
