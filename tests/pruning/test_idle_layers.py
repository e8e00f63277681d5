"""Layers that no forward pass calls, or that a structure does not prune, are named."""

import torch
from torch import Tensor, nn

import harness

IMAGES, INPUTS = torch.linspace(-1, 1, 2 * 3 * 36).view(2, 3, 6, 6), torch.ones(2, 8)


class Auxiliary(nn.Module):
    """A head that works in training only, and a layer that nobody calls."""

    def __init__(self) -> None:
        super().__init__()
        self.i, self.o = nn.Linear(8, 4), nn.Linear(4, 3)
        self.aux, self.idle = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.i(x)
        return (self.o(x), self.aux(x)) if self.training else self.o(x)


def test_a_head_that_works_in_training_only_is_left_whole_and_named(caplog) -> None:
    masks = harness.prune(Auxiliary().train(), 0.5, example_input=INPUTS)
    assert sorted(masks) == ["i.weight", "idle.weight", "o.weight"]
    assert "aux left whole: used in training only" in caplog.text
    assert "aux.weight" not in harness.prune(
        Auxiliary().train(), 0.5, example_input=INPUTS, exclude=["aux"]
    )
    assert "idle pruned although a forward pass of a sample does not call them" in caplog.text


def test_a_head_stays_whole_whatever_the_sample_and_what_a_module_keeps(caplog) -> None:
    model = Auxiliary()
    model.i = nn.Sequential(model.i, nn.BatchNorm1d(4))  # type: ignore[assignment]
    model.aux.register_forward_pre_hook(lambda module, inputs: setattr(module, "last", inputs[0]))
    model.i.register_forward_hook(lambda module, inputs, output: setattr(module, "last", output))
    for inputs in (INPUTS, INPUTS[:1]):
        caplog.clear()
        masks = harness.prune(model, 0.5, example_input=inputs)
        assert sorted(masks) == ["i.0.weight", "idle.weight", "o.weight"]
        assert "aux left whole: used in training only" in caplog.text
        assert model.i[1].num_batches_tracked == 0 and model.training


def test_weights_that_a_pass_in_training_mode_changes_come_back() -> None:
    model = Auxiliary()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def clips(module: nn.Linear, inputs: object) -> None:
        if module.training:
            module.weight.data.clamp_(-0.01, 0.01)

    model.i.register_forward_pre_hook(clips)
    masks = harness.prune(model, 0.5, example_input=INPUTS)
    assert "aux.weight" not in masks
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name] * masks.get(name, torch.tensor(True)))


def test_layers_stay_whole_where_no_pass_in_training_mode_tells_what_is_a_head(caplog) -> None:
    model = Auxiliary()

    def needs_targets(module: nn.Module, inputs: object) -> None:
        assert not module.training, "targets are missing"

    model.register_forward_pre_hook(needs_targets)
    masks = harness.prune(model, 0.5, example_input=INPUTS)
    assert sorted(masks) == ["i.weight", "o.weight"]
    assert (
        "aux, idle left whole: a forward pass of a sample does not call them, and a pass in "
        "training mode fails: AssertionError: targets are missing" in caplog.text
    )


def test_what_a_structure_does_not_prune_is_named(caplog) -> None:
    model = nn.Sequential(nn.ConvTranspose2d(3, 64, 3), nn.Conv2d(64, 8, 1), nn.Conv2d(8, 2, 1))
    harness.prune(model, 0.5, structure="row", example_input=IMAGES)
    # 2,330 in all: 1,728 and 64, 512 and 8, 16 and 2; the last layer makes the outputs.
    assert caplog.messages == [
        "no rule prunes these parameters, which stay dense: "
        "0.weight of ConvTranspose2d (74.2 % of the model's parameters)"
    ]
    caplog.clear()
    harness.prune(Auxiliary(), 0.5, structure="neuron", example_input=INPUTS)
    # 81 in all: 36 and three times 15.
    assert caplog.messages == [
        "aux left whole: used in training only, not part of the model that is measured "
        "(14.8 % of the model's parameters)",
        "idle left whole: a forward pass of a sample does not call them "
        "(14.8 % of the model's parameters)",
    ]
