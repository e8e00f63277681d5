import pytest
import torch
from simulated import Small, linear, over_ranks, rows, small_batches
from torch import Tensor, nn

from harness.saliency.base import CalibrationData
from harness.saliency.shared import layer_inputs
from harness.saliency.shared.layer_inputs import layer_statistics, mean_over_inputs, patches
from harness.vocabulary.tensors import Batch, Mean, Tensors

CONVOLUTIONS = {
    "1d": (nn.Conv1d(3, 4, 2), (5, 3, 9)),
    "1d strided and dilated": (nn.Conv1d(3, 4, 3, stride=2, dilation=2, padding=1), (5, 3, 9)),
    "2d": (nn.Conv2d(2, 3, 3), (4, 2, 6, 5)),
    "2d strided and padded": (nn.Conv2d(2, 3, (3, 2), (2, 3), (1, 2)), (4, 2, 7, 6)),
    "2d dilated": (nn.Conv2d(2, 3, (3, 2), dilation=(2, 3)), (4, 2, 7, 6)),
    "2d grouped": (nn.Conv2d(4, 6, 3, groups=2, padding=1, stride=2), (4, 4, 7, 6)),
    "2d depthwise": (nn.Conv2d(3, 6, 3, groups=3), (4, 3, 5, 5)),
    "2d reflected": (nn.Conv2d(2, 3, 3, padding=(2, 1), padding_mode="reflect"), (4, 2, 5, 6)),
    "2d circular": (nn.Conv2d(2, 3, 3, padding=(2, 1), padding_mode="circular"), (4, 2, 5, 6)),
    "2d replicated": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="replicate"), (4, 2, 5, 6)),
    "2d same": (nn.Conv2d(2, 3, (5, 3), padding="same", dilation=(1, 2)), (4, 2, 7, 6)),
    "2d same, not symmetric": (
        nn.Conv2d(2, 3, (2, 4), padding="same", padding_mode="circular"),
        (4, 2, 7, 6),
    ),
    "2d valid": (nn.Conv2d(2, 3, 3, padding="valid"), (4, 2, 5, 5)),
    "2d of one sample": (nn.Conv2d(2, 3, 3), (2, 6, 5)),
    "3d": (nn.Conv3d(2, 4, (2, 3, 1), (1, 2, 1), (0, 1, 1), groups=2), (3, 2, 4, 5, 3)),
}


def sums_of_inputs(inputs: Tensor) -> Tensor:
    return inputs.sum(dim=1)


def sums(model: nn.Module, *batches: Batch) -> Tensors:
    return mean_over_inputs(CalibrationData(model, batches), sums_of_inputs)


@pytest.mark.parametrize(("layer", "shape"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_rows_of_the_weight_times_patches_are_the_convolution(layer, shape) -> None:
    inputs = torch.randn(shape)
    with torch.no_grad():
        expected = layer(inputs) - layer(torch.zeros(shape))  # without the bias
        vectors = patches(layer, inputs)
        grouped = layer.weight.view(layer.groups, -1, layer.weight[0].numel())
        # (groups, rows, positions), as the convolution puts them: samples, channels, pixels.
        outputs = (grouped @ vectors.transpose(1, 2)).flatten(0, 1)
    whole = expected if expected.dim() == len(layer.kernel_size) + 2 else expected.unsqueeze(0)
    torch.testing.assert_close(outputs, whole.transpose(0, 1).flatten(1), rtol=0, atol=1e-5)


def test_patches_are_those_of_unfold() -> None:
    layer = nn.Conv2d(3, 5, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2))
    inputs = torch.randn(4, 3, 8, 7)
    unfolded = nn.functional.unfold(inputs, (3, 2), (1, 2), (1, 0), (2, 1))
    expected = unfolded.transpose(1, 2).flatten(0, 1).unsqueeze(0)
    assert torch.equal(patches(layer, inputs), expected)


def test_patches_of_a_padded_row_by_hand() -> None:
    layer = nn.Conv1d(1, 1, 2, padding=1, stride=2)
    vectors = patches(layer, torch.tensor([[[1.0, 2.0, 3.0]]]))
    # 0 1 2 3 0 in windows of two, every second one.
    assert vectors.tolist() == [[[0.0, 1.0], [2.0, 3.0]]]


def test_positions_of_a_linear_layer_are_all_but_the_last_dimension() -> None:
    vectors = patches(nn.Linear(2, 3), torch.arange(12.0).view(2, 3, 2))
    assert vectors.tolist() == [torch.arange(12.0).view(6, 2).tolist()]


def test_sums_are_over_positions_and_means_over_samples() -> None:
    # Two samples of two positions each: (1 + 2 + 3 + 4) / 2.
    inputs = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]]).double()
    assert sums(linear((1.0,)), (inputs, torch.zeros(2)))["weight"].tolist() == [[5.0]]


class Twice(nn.Module):
    """One layer called twice, and a second layer that shares its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.one = linear((2.0,))
        self.other = linear((0.0,))
        self.other.weight = self.one.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return self.other(input=self.one(self.one(inputs)))


def test_calls_of_a_layer_add_up_and_so_do_layers_that_share_a_weight() -> None:
    # Inputs 1, 2 and 4 of the three calls.
    assert sums(Twice(), rows((1.0,))) == {"one.weight": torch.tensor([[7.0]])}


@pytest.mark.parametrize("piece", [1, 7, 50])
def test_cutting_the_inputs_into_pieces_changes_nothing(piece, monkeypatch) -> None:
    model = Small()
    whole = sums(model, *small_batches())
    monkeypatch.setattr(layer_inputs, "CHUNK", piece)
    for name, value in sums(model, *small_batches()).items():
        torch.testing.assert_close(value, whole[name], rtol=0, atol=1e-10)


def test_ranks_add_up_also_with_one_that_has_no_samples() -> None:
    model = Small()

    def statistics(batches: list[Batch], mean: Mean) -> Tensors:
        return mean_over_inputs(CalibrationData(model, batches, None, mean), sums_of_inputs)

    whole, parts = sums(model, *small_batches()), [small_batches()[:1], [], small_batches()[1:]]
    together = over_ranks(statistics, *parts)
    assert together.keys() == whole.keys()
    for name, value in together.items():
        torch.testing.assert_close(value, whole[name], rtol=0, atol=1e-10)
    assert over_ranks(statistics, [], small_batches()).keys() == whole.keys()


def test_no_samples_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="no calibration samples"):
        sums(linear((1.0,)))


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.up = nn.ConvTranspose1d(3, 2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.up(self.block(inputs))


@pytest.mark.parametrize("name", ["block.self_attn.out_proj.weight", "up.weight"])
def test_a_layer_whose_inputs_are_unknown_is_refused_by_name(name) -> None:
    statistics = sums(Attending(), (torch.randn(2, 3, 4), torch.zeros(2)))
    # The layers beside the attention are measured, although PyTorch has a fused path for them.
    assert set(statistics) == {"block.linear1.weight", "block.linear2.weight"}
    layer = name.removesuffix(".weight")
    with pytest.raises(ValueError, match=rf"^{name}: the inputs.*exclude=\[{layer}\]"):
        layer_statistics(name, statistics)


def test_inputs_that_are_not_finite_name_their_layer() -> None:
    with pytest.raises(ValueError, match="of weight is not finite"):
        sums(linear((1.0,)), rows((float("inf"),)))


def test_the_model_comes_back_after_an_error_in_its_forward() -> None:
    class Failing(Small):
        def forward(self, inputs: Tensor) -> Tensor:
            super().forward(inputs)
            raise ZeroDivisionError

    model = Failing().train()
    model.fc1.eval()
    with pytest.raises(ZeroDivisionError):
        sums(model, *small_batches())
    assert [module.training for module in model.modules()] == [True, True, True, False, True]
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_dropout_is_off() -> None:
    model = nn.Sequential(nn.Dropout(0.9), linear((1.0,)))
    assert sums(model, rows((1.0,), (1.0,)))["1.weight"].tolist() == [[1.0]]
