"""harness.prune(method=...): the masks of a run, named methods, and what is refused."""

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from command import TINY
from conftest import CONF, cases, component
from omegaconf import OmegaConf
from silent import ME, Silent
from torch import Tensor, nn

import harness
from harness.distributed import Ranks
from harness.experiment import runner
from harness.experiment.recorder import Recorder
from harness.launch.compose import compose_config
from harness.launch.execute import build
from harness.launch.method_name import EXTRAS
from harness.pruning.budget import round_sizes

METHODS = sorted(file.stem for file in (CONF / "method").glob("*.yaml"))
UNTRAINED = ("schedule=one_shot", "finetune=none", "training.epochs=0", "calibration.samples=40")


def prepared(folder: Path, *overrides: str) -> runner.Prepared:
    return runner.prepare(build(compose_config([*TINY, *UNTRAINED, *overrides])), Ranks(), folder)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.filterwarnings("ignore:.* no weight left")
@cases("density", 0.11, 0.3)
@pytest.mark.parametrize(
    "method",
    ["global_magnitude", "iterative_snip", "synflow", "wanda", "obs", "sparsegpt", "l1_rows"],
)
def test_a_call_makes_the_masks_of_a_run(method, density, tmp_path) -> None:
    asked = (f"method={method}", f"schedule.final={density}")
    levels = prepared(tmp_path, *asked)
    other = prepared(tmp_path, *asked)
    subject, what = other.context.workload, other.context.experiment
    data = subject.calibration(what.calibration, what.training.batch_size)
    sample = subject.sample()

    runner.run(Recorder(*levels, ME, Silent()))
    expected = levels.state.masks.masks
    model = other.state.model
    masks = harness.prune(
        model, density, method=method, batches=data.batches, loss=data.loss, example_input=sample
    )

    assert all(torch.equal(masks[name], mask) for name, mask in expected.items())
    for name, weight in levels.state.model.named_parameters():
        assert torch.equal(model.get_parameter(name), weight)


def test_rounds_end_before_the_target_is_rounded() -> None:
    # 102 x 0.04^(k / 5) is 53.58 at first; on the way to the rounded 4 it would be 53.37.
    goals = round_sizes(102, 4.08, "weights", rounds=5)
    assert [goal.keep for goal in goals] == [54, 28, 15, 8, 4]


def convolutions() -> nn.Sequential:
    torch.manual_seed(0)
    layers = {
        "conv1": nn.Conv2d(1, 4, 3), "bn1": nn.BatchNorm2d(4), "relu1": nn.ReLU(),
        "conv2": nn.Conv2d(4, 4, 3), "bn2": nn.BatchNorm2d(4), "relu2": nn.ReLU(),
        "flat": nn.Flatten(), "fc": nn.Linear(16, 3),
    }  # fmt: skip
    return nn.Sequential(OrderedDict(layers))


@pytest.mark.filterwarnings("ignore:.* no weight left")
@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_taken_or_says_that_it_takes_a_training(method) -> None:
    data = [(torch.randn(6, 1, 6, 6), torch.tensor([0, 1, 2, 0, 1, 2]))]
    node = OmegaConf.load(CONF / "method" / f"{method}.yaml")
    parts = {
        key.removeprefix("override /"): name for each in node.defaults for key, name in each.items()
    }
    extras = any(parts.get(key, usual) != usual for key, usual in EXTRAS.items())
    if node.prune_at == "during_training" or extras:
        with pytest.raises(ValueError, match=f"run it: pruning-harness method={method}"):
            harness.prune(convolutions(), 0.5, method=method, batches=data)
    elif getattr(component("allocation", parts["allocation"]), "needs_curves", False):
        with pytest.raises(ValueError, match="which only a run has"):
            harness.prune(convolutions(), 0.5, method=method, batches=data)
    else:
        masks = harness.prune(convolutions(), 0.5, method=method, batches=data)
        assert any(not mask.all() for mask in masks.values())


def kept(masks: dict[str, Tensor]) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}


def test_a_method_brings_its_settings_and_may_be_asked_for_with_its_own_parts() -> None:
    masks = harness.prune(network(), 0.5, method="layerwise_magnitude", allocation="uniform")
    assert kept(masks) == {"0.weight": 16, "2.weight": 12}
    own = harness.prune(network(), keep={"0.weight": 3}, method="wanda", batches=DATA)
    assert kept(own) == {"0.weight": 3, "2.weight": 24}


DATA = [(torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1]))]


@cases(
    "call, message",
    ({"method": "wandaa"}, "there is no method 'wandaa'; there are: .*ac_dc,"),
    ({"method": "wanda", "saliency": "obs"}, "method=wanda has saliency=wanda, but saliency=o"),
    ({"method": "wanda", "allocation": "lamp"}, "has allocation=uniform, but allocation=lamp"),
)
def test_what_does_not_go_with_a_method_is_refused(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        harness.prune(network(), 0.5, batches=DATA, **call)  # type: ignore[arg-type]


def test_a_layer_that_loses_everything_is_warned_of_as_in_a_run() -> None:
    model = network()
    with torch.no_grad():
        model[2].weight.mul_(1e-3)
    with pytest.warns(UserWarning, match="^2 has no weight left$") as caught:
        harness.prune(model, 0.3)
    assert caught[0].filename == __file__  # of who calls it
    # Asked for by name it is no surprise.
    assert kept(harness.prune(network(), keep={"2.weight": 0}))["2.weight"] == 0
