import pytest
import torch
from conftest import cases
from torch import nn

from harness.metrics.macs import macs
from harness.models.char_transformer import CharTransformer
from harness.models.lenet_5 import LeNet5
from harness.models.lenet_300_100 import LeNet300100
from harness.models.mlp import Mlp
from harness.vocabulary.tensors import prunable_weights

MNIST = (1, 28, 28)


def ones(model: nn.Module) -> nn.Module:
    """Returns the model without random zeros: torch draws an exact 0 once in 2**24 weights."""
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    return model


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def prunable(model: nn.Module) -> int:
    return sum(weight.numel() for weight in prunable_weights(model).values())


def test_lenet_300_100_has_the_published_size() -> None:
    model = LeNet300100().build(MNIST, 10)
    assert (prunable(model), parameters(model)) == (266_200, 266_610)
    assert macs(ones(model), MNIST) == 266_200


def test_lenet_5_has_the_published_size() -> None:
    model = LeNet5().build(MNIST, 10)
    assert (prunable(model), parameters(model)) == (430_500, 431_080)
    # 25 x 20 x 24 x 24 + 500 x 50 x 8 x 8 + 800 x 500 + 500 x 10
    assert macs(ones(model), MNIST) == 288_000 + 1_600_000 + 400_000 + 5_000


def test_layers_have_sensible_names() -> None:
    assert list(prunable_weights(LeNet5().build(MNIST, 10))) == [
        "conv1.weight",
        "conv2.weight",
        "fc1.weight",
        "fc2.weight",
    ]
    assert list(prunable_weights(LeNet300100().build(MNIST, 10))) == [
        "fc1.weight",
        "fc2.weight",
        "fc3.weight",
    ]


def test_mlp_has_the_given_widths() -> None:
    weights = prunable_weights(Mlp(hidden=[5, 7]).build((8,), 3))
    assert {name: tuple(weight.shape) for name, weight in weights.items()} == {
        "fc1.weight": (5, 8),
        "fc2.weight": (7, 5),
        "fc3.weight": (3, 7),
    }


def test_mlp_with_batch_norm_has_one_before_each_relu() -> None:
    model = Mlp(hidden=[5, 7], batch_norm=True).build((8,), 3)
    assert [name for name, _ in model.named_children()] == [
        *("flatten", "fc1", "bn1", "relu1", "fc2", "bn2", "relu2", "fc3")
    ]


def test_mlp_without_hidden_layers_is_a_linear_classifier() -> None:
    assert parameters(Mlp(hidden=[]).build((8,), 3)) == 8 * 3 + 3


@cases(
    "model, shape",
    (LeNet5(), (1, 28, 28)), (LeNet5(), (3, 32, 32)), (LeNet5(), (1, 16, 17)),
    (LeNet300100(), (1, 28, 28)), (LeNet300100(), (8,)), (Mlp(), (1, 8, 8)),
    (Mlp(batch_norm=True), (8,)),
)  # fmt: skip
def test_every_model_answers_one_number_per_class(model, shape) -> None:
    outputs = model.build(shape, 4)(torch.zeros(2, *shape))
    assert outputs.shape == (2, 4)


@cases("model", LeNet5(), LeNet300100(), Mlp())
def test_same_seed_builds_the_same_weights(model) -> None:
    def built() -> list[torch.Tensor]:
        torch.manual_seed(0)
        return list(model.build(MNIST, 10).parameters())

    assert all(torch.equal(a, b) for a, b in zip(built(), built(), strict=True))


@cases("shape", (8,), (28, 28), (1, 8, 8), (1, 15, 28), (1, 28, 15))
def test_lenet_5_refuses_what_is_no_image_or_too_small_and_names_the_shape_wanted(shape) -> None:
    with pytest.raises(ValueError, match=r"\(channels, height, width\) of at least 16 x 16"):
        LeNet5().build(shape, 10)


@cases("model", LeNet5(), LeNet300100(), Mlp())
def test_every_model_refuses_impossible_tasks(model) -> None:
    with pytest.raises(ValueError, match="classes must be at least 1, got 0"):
        model.build(MNIST, 0)
    with pytest.raises(ValueError, match=r"sizes of at least 1, got \(1, 0, 28\)"):
        model.build((1, 0, 28), 10)
    with pytest.raises(ValueError, match=r"sizes of at least 1, got \(\)"):
        model.build((), 10)


@cases("hidden", [0], [32, -1], [3.5], [True], ["32"], [10**7], 32, "32")
def test_mlp_refuses_widths_that_are_no_positive_integers(hidden) -> None:
    with pytest.raises(ValueError, match=r"hidden must be a list of whole numbers in \[1, 1000000"):
        Mlp(hidden=hidden)


@cases(
    "model, shape",
    (Mlp(hidden=[10**6] * 3), MNIST),
    (LeNet300100(), (10**5, 10**5)),
    (LeNet5(), (10**12, 28, 28)),
    (CharTransformer(width=65536, depth=1000), (64,)),
)
def test_a_model_that_no_memory_holds_is_refused_before_it_takes_any(model, shape) -> None:
    with pytest.raises(ValueError, match="weights takes .* GB of memory; make the model or its in"):
        model.build(shape, 10)
