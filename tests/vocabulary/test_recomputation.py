"""A network's scores do not depend on torch.utils.checkpoint, of either kind and wherever it is."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointFunction, checkpoint

import harness
from harness.metrics.connectivity import connected_weights
from harness.saliency.taylor_activation import TaylorActivation

BY_GRADIENTS = ["gradient", "grasp", "synflow", "hutchinson", "fisher", "woodfisher", "movement"]
TOKENS, LABELS = torch.tensor([[0, 1], [2, 3], [1, 1]]), torch.tensor([0, 2, 1])


class Net(nn.Module):
    """Has a stem that no input with a gradient enters, and a part behind it; recomputes both."""

    def __init__(self, reentrant: bool | None):
        super().__init__()
        torch.manual_seed(0)
        self.reentrant, self.table = reentrant, nn.Embedding(4, 5)
        self.attention = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True)
        self.a, self.b, self.c = nn.Linear(5, 4), nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden: Tensor = self.recomputed(self.stem, tokens)
        return self.c(self.recomputed(lambda x: self.b(x).tanh(), hidden))  # type: ignore[no-any-return]

    def stem(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.recomputed(self.attention, self.a(self.table(tokens)).tanh())
        return found.mean(1)

    def recomputed(self, part: Any, *inputs: Tensor) -> Any:
        if self.reentrant is None:
            return part(*inputs)
        return checkpoint(part, *inputs, use_reentrant=self.reentrant)


@pytest.mark.parametrize("saliency", BY_GRADIENTS)
@pytest.mark.parametrize("reentrant", [True, False])
def test_scores_of_weights_are_those_without_checkpoints(saliency, reentrant) -> None:
    plain, found = (
        harness.score(Net(kind), saliency, batches=[(TOKENS, LABELS)]) for kind in (None, reentrant)
    )
    assert all(score.any() and score.equal(found[name]) for name, score in plain.items())


@pytest.mark.parametrize("reentrant", [True, False])
def test_scores_of_units_are_those_without_checkpoints(reentrant) -> None:
    unscaled = TaylorActivation(normalise=False)
    hidden = "attention.self_attn.out_proj"
    given: Any = {"batches": [(TOKENS, LABELS)], "structure": "neuron", "exclude": hidden}
    plain, found = (harness.score(Net(kind), unscaled, **given) for kind in (None, reentrant))
    assert "b.weight" in plain and all(plain[name].equal(found[name]) for name in plain)


@pytest.mark.parametrize("reentrant", [True, False])
def test_what_is_reached_does_not_depend_on_checkpoints(reentrant) -> None:
    class Net(nn.Sequential):
        kind: bool | None = None

        def forward(self, inputs: Tensor) -> Tensor:
            part: Any = lambda x: self[1](self[0](x)).relu()  # noqa: E731
            if self.kind is not None:
                hidden: Any = checkpoint(part, inputs, use_reentrant=self.kind)
                return self[3](checkpoint(self[2], hidden, use_reentrant=self.kind))  # type: ignore
            return self[3](self[2](part(inputs)))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    net = Net(nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 2))
    masks = harness.prune(net, 0.2)
    plain = connected_weights(net, torch.zeros(1, 4))
    assert any(not plain[name].equal(masks[name]) for name in masks)  # some weights are cut off
    net.kind = reentrant
    found = connected_weights(net, torch.zeros(1, 4))
    assert all(plain[name].equal(found[name]) for name in masks)


def test_checkpoints_are_torchs_own_again_also_after_an_error() -> None:
    def wrong(outputs: Tensor, labels: Tensor) -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        harness.score(Net(True), "fisher", batches=[(TOKENS, LABELS)], loss=wrong)
    assert "apply" not in vars(CheckpointFunction)


class Foreign(torch.autograd.Function):
    """Raises the error of another library's checkpoint in its backward pass."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        return inputs * 2

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise RuntimeError("Checkpointing is not compatible with .grad() or an inputs parameter")


@pytest.mark.parametrize("saliency", ["gradient", "taylor_unit"])
def test_a_checkpoint_of_another_library_is_refused_with_the_way_out(saliency) -> None:
    class Net(nn.Sequential):
        def forward(self, inputs: Tensor) -> Tensor:
            return self[1](Foreign.apply(self[0](inputs)))  # type: ignore[no-any-return]

    structure = "neuron" if saliency == "taylor_unit" else "element"
    data = [(torch.ones(2, 4), torch.tensor([0, 1]))]
    with pytest.raises(ValueError, match="checkpoint in the forward.*use_reentrant=False"):
        harness.score(
            Net(nn.Linear(4, 3), nn.Linear(3, 2)), saliency, batches=data, structure=structure
        )


@pytest.mark.parametrize("end", [Tensor.item, Tensor.detach])
def test_a_loss_without_a_gradient_is_refused(end) -> None:
    data = [(torch.ones(2, 4), torch.tensor([0, 1]))]
    with pytest.raises(ValueError, match="loss has no gradient.*return the tensor"):
        harness.score(nn.Linear(4, 3), "fisher", batches=data, loss=lambda o, y: end(o.sum()))


@pytest.mark.parametrize("saliency", ["gradient", "fisher", "synflow", "taylor_unit"])
def test_weights_that_the_loss_does_not_feel_are_named(saliency, caplog) -> None:
    class Frozen(nn.Sequential):
        def forward(self, inputs: Tensor) -> Tensor:
            with torch.no_grad():
                hidden = self[0](inputs)
            return self[1](hidden)  # type: ignore[no-any-return]

    structure = "neuron" if saliency == "taylor_unit" else "element"
    given: Any = {"batches": [(torch.ones(2, 4), torch.tensor([0, 1]))], "structure": structure}
    model = Frozen(nn.Linear(4, 3), nn.Linear(3, 2))
    harness.score(model, saliency, **given)
    assert "scores all of 0.weight 0, so that they go first" in caplog.text
    caplog.clear()
    if structure == "element":
        harness.score(model, saliency, **given, exclude="0")
        model[0].weight.data.zero_()  # nothing of it can go
        harness.score(model, saliency, **given)
    assert "scores all" not in caplog.text
