import pytest
import torch
from conftest import cases, every
from torch import Tensor, nn

from harness.distributed import Ranks
from harness.distributed.batch_norm import convert_batch_norm
from harness.models.lenet_5 import LeNet5
from harness.recalibration.batch_norm import BatchNormStatistics


def recalibrated(model: nn.Module, *batches: Tensor) -> nn.Module:
    BatchNormStatistics().apply(model, batches)
    return model


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).unsqueeze(1)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(4, 5), nn.BatchNorm1d(5, momentum=None, affine=False), nn.Linear(5, 2),
    )  # fmt: skip
    for _ in range(3):  # so that no statistic is as it is when new
        model(torch.randn(8, 3) + 1)
    return model


def inputs(samples: int, seed: int = 1) -> Tensor:
    return torch.randn(samples, 3, generator=torch.Generator().manual_seed(seed))


def states(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def check_same(model: nn.Module, before: dict[str, Tensor], but: tuple[str, ...] = ()) -> None:
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) != name.endswith(but), name


def test_two_batches_by_hand() -> None:
    # 1, 3 and 5, 7, 9: mean 5, squares about it 16 + 4 + 0 + 4 + 16 = 40, unbiased 40 / 4.
    norm = recalibrated(nn.BatchNorm1d(1), column(1, 3), column(5, 7, 9))
    assert (norm.running_mean.tolist(), norm.running_var.tolist()) == ([5.0], [10.0])


def test_statistics_of_one_norm_are_those_of_all_samples_and_positions() -> None:
    torch.manual_seed(0)
    images = 3 * torch.randn(50, 2, 4, 5) + 7
    norm = recalibrated(nn.BatchNorm2d(2), *images.split(16))

    values = images.transpose(0, 1).reshape(2, -1)
    torch.testing.assert_close(norm.running_mean, values.mean(1))
    torch.testing.assert_close(norm.running_var, values.var(1))


def test_later_norms_see_what_they_see_in_training() -> None:
    # Each batch becomes -1, 1 by its own statistics, and x 3 it is -3, 3: mean 0, 36 / 3.
    model = nn.Sequential(nn.BatchNorm1d(1, eps=0.0), nn.Linear(1, 1), nn.BatchNorm1d(1))
    with torch.no_grad():
        model[1].weight.fill_(3.0)
        model[1].bias.fill_(0.0)

    recalibrated(model, column(0, 2), column(10, 30))

    assert model[2].running_mean.tolist() == [0.0]
    assert model[2].running_var.tolist() == [12.0]


def test_the_mean_over_equal_batches_is_torchs_cumulative_mean() -> None:
    theirs = network()
    for norm in (theirs[1], theirs[5]):
        norm.reset_running_stats()
        norm.momentum = None
    theirs[3].eval()
    for batch in inputs(32).split(8):
        theirs(batch)

    model = recalibrated(network(), *inputs(32).split(8))

    torch.testing.assert_close(model[1].running_mean, theirs[1].running_mean)
    torch.testing.assert_close(model[5].running_mean, theirs[5].running_mean)


def test_a_variance_that_is_small_beside_the_mean_keeps_its_digits() -> None:
    torch.manual_seed(0)
    far = (torch.randn(64, 1) / 100 + 1000).float()
    norm = recalibrated(nn.BatchNorm1d(1), *far.split(8))
    torch.testing.assert_close(norm.running_var.double(), far.double().var(0), rtol=1e-3, atol=0)


def test_a_norm_that_is_called_twice_counts_all_its_inputs() -> None:
    # 1, 3, and then -1, 1: mean 1, squares about it 0 + 4 + 4 + 0.
    norm = nn.BatchNorm1d(1, eps=0.0)
    recalibrated(nn.Sequential(norm, norm), column(1, 3))
    assert norm.running_mean.tolist() == [1.0]
    assert norm.running_var.tolist() == [pytest.approx(8 / 3)]


def test_a_pruned_unit_gives_finite_output() -> None:
    model = network()
    with torch.no_grad():
        model[0].weight[1] = 0.0
        model[0].bias[1] = 0.0

    recalibrated(model, inputs(8))

    assert (float(model[1].running_mean[1]), float(model[1].running_var[1])) == (0.0, 0.0)
    assert model.eval()(inputs(8, seed=2)).isfinite().all()
    model.train()(inputs(8, seed=2)).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@every("recalibration")
@cases("mode", True, False)
def test_only_statistics_change(recalibration, mode) -> None:
    model = network().train(mode)
    model[3].train(not mode)
    model[1].weight.grad = torch.ones(4)
    before, momenta = states(model), [model[1].momentum, model[5].momentum]
    held = [id(buffer) for buffer in model.buffers()]
    random = torch.get_rng_state()
    recalibration.check(model)

    recalibration.apply(model, inputs(32).split(8))

    check_same(model, before, but=("running_mean", "running_var"))
    assert [model[1].momentum, model[5].momentum] == momenta
    assert [id(buffer) for buffer in model.buffers()] == held
    assert [module.training for module in model] == [mode] * 3 + [not mode] + [mode] * 3
    assert model[1].weight.grad.tolist() == [1.0] * 4
    assert not any(module._forward_pre_hooks for module in model)
    assert torch.equal(torch.get_rng_state(), random)


def test_dropout_is_off_and_no_gradient_is_recorded() -> None:
    seen = []
    # With dropout half of the inputs would be 0, and the others 2 and 6.
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(1))
    model.register_forward_hook(lambda module, given, output: seen.append(output.requires_grad))
    recalibrated(model, *[column(1, 3)] * 10)
    assert model[1].running_mean.tolist() == [2.0]
    assert not any(seen)


def test_a_frozen_norm_is_measured_and_nothing_of_its_former_statistics_is_left() -> None:
    norm = nn.BatchNorm1d(1).eval()
    norm.running_mean.fill_(100.0)
    norm.running_var.fill_(100.0)
    recalibrated(norm, column(1, 3))
    assert (norm.running_mean.tolist(), norm.running_var.tolist()) == ([2.0], [2.0])
    assert not norm.training


def test_a_norm_without_running_statistics_and_one_that_is_never_called_stay() -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
            self.bare = nn.BatchNorm1d(1, track_running_stats=False)
            self.unused.running_mean.fill_(9.0)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(self.bare(x))

    model = recalibrated(Partly(), column(1, 3))
    assert model.bare.running_mean is None
    assert model.unused.running_mean.tolist() == [9.0]
    assert model.used.running_var.tolist() == [pytest.approx(2.0, rel=1e-4)]


@cases("device", "cpu", "cuda")
def test_synchronised_norms_are_measured_alike_and_ask_no_other_rank(device, monkeypatch) -> None:
    wanted = states(recalibrated(network(), *inputs(32).split(8)))
    model = convert_batch_norm(network(), Ranks(0, 2, torch.device(device)))
    # There is no group that they could ask: in training mode both kinds would fail.
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    check_same(recalibrated(model, *inputs(32).split(8)), wanted)


def test_after_an_error_all_is_as_it_was() -> None:
    model = network()
    model[3].eval()
    before = states(model)

    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes"):
        recalibrated(model, inputs(8), torch.zeros(8, 7))

    check_same(model, before)
    assert [module.training for module in model] == [True] * 3 + [False] + [True] * 3
    assert not any(module._forward_pre_hooks for module in model)


@cases(
    "batches, says",
    ([], "no BatchNorm was given any input; give batches of at least 2 training samples"),
    ([inputs(8), inputs(1)], "norm 1 got 1 values per channel in a batch, but needs at least"),
    ([inputs(8), inputs(0)], "norm 1 got 0 values per channel in a batch"),
    ([inputs(8), inputs(8) / 0], "inputs of norm 1 are not finite; did the training diverge"),
)
def test_batches_that_give_no_statistics_are_refused_and_nothing_changes(batches, says) -> None:
    model = network()
    before = states(model)
    with pytest.raises(ValueError, match=says):
        recalibrated(model, *batches)
    check_same(model, before)


@every("recalibration")
def test_recalibration_suits_a_network_with_batch_norm_and_asks_for_samples(recalibration) -> None:
    recalibration.check(LeNet5(batch_norm=True).build((1, 28, 28), 10))
    assert recalibration.samples >= recalibration.batch_size >= 1


@cases("norm", nn.BatchNorm1d(3, track_running_stats=False), nn.LayerNorm(3), nn.InstanceNorm1d(3))
def test_a_model_without_running_statistics_is_refused_by_name(norm) -> None:
    model = nn.Sequential(nn.Linear(3, 3), norm)
    says = "needs a BatchNorm that keeps running statistics, but Sequential has none"
    for refused in (BatchNormStatistics().check, recalibrated):
        with pytest.raises(ValueError, match=says):
            refused(model)


@cases("key", "samples", "batch_size")
@cases("value", 1, 0, -1, 2.0, True, "8")
def test_samples_and_batch_size_must_be_whole_numbers(key, value) -> None:
    with pytest.raises(ValueError, match=f"{key} must be a whole number >= 2, got"):
        BatchNormStatistics(**{key: value})


def test_a_last_batch_of_one_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="leave a last batch of one sample.*use samples=1024"):
        BatchNormStatistics(samples=1025)
