"""Synchronised BatchNorm on 2 and 4 ranks is BatchNorm on the whole batch in one process."""

import copy
from typing import Any

import pytest
import torch
from batch_norm_cases import BATCH, CASES, MODELS, SMALL, all_cases, network
from conftest import cases
from forked_ranks import on_ranks
from torch import Tensor, nn

from harness.distributed import Ranks
from harness.distributed.batch_norm import SyncedBatchNorm1d, SyncedBatchNorm2d, convert_batch_norm
from harness.metrics.macs import macs
from harness.models.mlp import Mlp
from harness.structure.filter import Filter
from harness.structure.neuron import Neuron

TWO = Ranks(0, 2)
ON_CUDA = Ranks(0, 2, torch.device("cuda"))  # conversion alone needs no such device
TOLERANCE = {"float64": {"rtol": 1e-9, "atol": 1e-12}, "float32": {"rtol": 1e-4, "atol": 1e-5}}

Results = dict[int, list[dict[str, Any]]]  # ranks -> what each of them found


@pytest.fixture(scope="module", name="results")
def fixture_results() -> Results:
    alone = all_cases(Ranks())
    return {1: [alone], **{count: on_ranks(count, all_cases) for count in (2, 4)}}


def close(found: Tensor, wanted: Tensor, dtype: str) -> None:
    torch.testing.assert_close(found, wanted, **TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("count", [2, 4])
def test_outputs_and_input_gradients_of_uneven_shares_are_those_of_the_whole_batch(
    results, count, case, dtype
) -> None:
    (alone,) = results[1]
    ranks = [rank["one_norm"][f"{case} {dtype}"] for rank in results[count]]

    assert len({len(rank["outputs"]) for rank in ranks}) == 2
    for key in ("outputs", "gradient of inputs"):
        whole = torch.cat([rank[key] for rank in ranks])
        assert len(whole) == BATCH
        close(whole, alone["one_norm"][f"{case} {dtype}"][key], dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("count", [2, 4])
def test_parameter_gradients_and_running_statistics_are_those_of_the_whole_batch(
    results, count, case, dtype
) -> None:
    (alone,) = results[1]
    wanted = alone["one_norm"][f"{case} {dtype}"]
    for rank in results[count]:
        found = rank["one_norm"][f"{case} {dtype}"]
        assert found.keys() == wanted.keys()
        for key in wanted.keys() - {"outputs", "gradient of inputs"}:
            close(found[key], wanted[key], dtype)


@pytest.mark.parametrize("count", [2, 4])
def test_running_statistics_are_equal_bit_for_bit_on_all_ranks(results, count) -> None:
    first, *others = results[count]
    for other in others:
        for case, found in first["one_norm"].items():
            for key in found.keys() & {"running_mean", "running_var", "num_batches_tracked"}:
                assert torch.equal(found[key], other["one_norm"][case][key]), (case, key)
        for dtype, state in first["training"].items():
            for name, tensor in state.items():
                assert torch.equal(tensor, other["training"][dtype][name]), (dtype, name)


@cases("count, name, dtype", *((2, *case) for case in [*SMALL, *MODELS]), *((4, *c) for c in SMALL))
def test_ten_steps_of_training_are_those_of_one_process(results, count, name, dtype) -> None:
    wanted = results[1][0]["training"][f"{name} {dtype}"]
    found = results[count][0]["training"][f"{name} {dtype}"]

    assert found.keys() == wanted.keys()
    assert {int(n) for key, n in wanted.items() if key.endswith("num_batches_tracked")} == {10}
    for key in wanted:
        close(found[key], wanted[key], str(dtype).removeprefix("torch."))


@pytest.mark.parametrize("count", [2, 4])
def test_a_variance_that_is_small_beside_the_mean_keeps_its_digits(results, count) -> None:
    found = results[count][0]["far_from_zero"]
    torch.testing.assert_close(found["found"].double(), found["true"], rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
@pytest.mark.parametrize("count", [2, 4])
def test_half_precision_inputs_stay_half_and_their_statistics_do_not(results, count, half) -> None:
    wanted = results[1][0]["autocast"][f"torch.{half}"]
    ranks = [rank["autocast"][f"torch.{half}"] for rank in results[count]]

    for key in ("outputs", "gradient"):
        whole = torch.cat([rank[key] for rank in ranks])
        assert whole.dtype == getattr(torch, half)
        torch.testing.assert_close(whole, wanted[key], rtol=0.02, atol=0.02)
    close(ranks[0]["running_var"], wanted["running_var"], "float32")


def test_eval_mode_speaks_to_no_other_rank(results) -> None:
    for rank in results[2]:
        assert rank["collectives"] == {"eval": [], "train": ["all_gather", "all_reduce"]}


def test_one_value_per_channel_on_all_ranks_together_is_refused_on_each(results) -> None:
    for rank in results[2] + results[4]:
        said = rank["one_value"]["said"]
        assert said.startswith("Expected more than 1 value per channel when training, got 1 on all")


def test_one_rank_keeps_plain_norms_and_several_have_synced_ones(results) -> None:
    assert set(results[1][0]["classes"].values()) == {"plain"}
    kinds = results[2][0]["classes"]
    assert [name for name, kind in kinds.items() if kind == "synced"] == ["1", "5"]


@pytest.mark.parametrize("ranks", [TWO, ON_CUDA], ids=["cpu", "cuda"])
def test_conversion_keeps_parameters_buffers_keys_and_modes(ranks) -> None:
    model = network().double()
    model[1].eval()
    model[5].weight.requires_grad_(False)
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    keys = list(model.state_dict())

    model = convert_batch_norm(model, ranks)

    assert all(p is parameters[name] for name, p in model.named_parameters())
    assert all(b is buffers[name] for name, b in model.named_buffers())
    assert list(model.state_dict()) == keys
    assert (model[1].training, model[5].training) == (False, True)
    kinds = (nn.SyncBatchNorm,) if ranks is ON_CUDA else (SyncedBatchNorm1d, SyncedBatchNorm2d)
    assert isinstance(model[1], kinds) and isinstance(model[5], kinds)


@pytest.mark.parametrize("ranks", [TWO, ON_CUDA], ids=["cpu", "cuda"])
def test_a_state_fits_before_and_after_conversion(ranks) -> None:
    model = convert_batch_norm(network(), ranks)
    plain = network()

    plain.load_state_dict(model.state_dict())
    model.load_state_dict(plain.state_dict())


@pytest.mark.parametrize("ranks", [TWO, ON_CUDA], ids=["cpu", "cuda"])
def test_metrics_and_structure_see_the_same_network(ranks) -> None:
    plain = network()
    model = convert_batch_norm(copy.deepcopy(plain), ranks)
    sample = torch.randn(2, 2, 5, 5)

    assert macs(model, (2, 5, 5)) == macs(plain, (2, 5, 5))
    for structure in (Filter(), Neuron()):
        one, other = (structure.units(each, sample) for each in (model, plain))
        assert {n: u.masked for n, u in one.items()} == {n: u.masked for n, u in other.items()}
    (filters,) = Filter().units(model, sample).values()
    assert {"0.weight", "0.bias", "1.weight", "1.bias"} <= set(filters.masked)
    assert torch.equal(model.eval()(sample), plain.eval()(sample))


@pytest.mark.parametrize("ranks", [TWO, ON_CUDA], ids=["cpu", "cuda"])
def test_a_norm_that_stands_in_two_places_stays_one(ranks) -> None:
    shared = nn.BatchNorm1d(4)
    model = nn.Sequential(shared, nn.Linear(4, 4), shared, nn.Sequential(shared))

    model = convert_batch_norm(model, ranks)

    assert model[0] is model[2] is model[3][0]
    assert type(model[0]) in (SyncedBatchNorm1d, nn.SyncBatchNorm)


@pytest.mark.parametrize("ranks", [TWO, ON_CUDA], ids=["cpu", "cuda"])
def test_a_model_that_is_a_norm_is_converted_and_converting_twice_changes_nothing(ranks) -> None:
    once = convert_batch_norm(nn.BatchNorm1d(4), ranks)

    assert type(once) in (SyncedBatchNorm1d, nn.SyncBatchNorm)
    assert convert_batch_norm(once, ranks) is once


def test_a_hook_on_a_norm_survives() -> None:
    model = network()
    seen = []
    model[1].register_forward_hook(lambda *_: seen.append("called"))

    convert_batch_norm(model, TWO)(torch.randn(4, 2, 5, 5))

    assert seen == ["called"]


def test_outside_a_group_a_synced_norm_is_a_plain_one() -> None:
    torch.manual_seed(0)
    plain = Mlp(hidden=[5], batch_norm=True).build((3,), 2)
    model = convert_batch_norm(copy.deepcopy(plain), TWO)
    sample = torch.randn(6, 3)

    assert torch.equal(model(sample), plain(sample))
    assert torch.equal(model.bn1.running_var, plain.bn1.running_var)


@pytest.mark.parametrize("ranks", [TWO, ON_CUDA], ids=["cpu", "cuda"])
def test_a_norm_with_a_class_of_its_own_is_refused_by_name(ranks) -> None:
    class Own(nn.BatchNorm1d):
        pass

    with pytest.raises(ValueError, match="norm 1 is a Own, .* build the model from these"):
        convert_batch_norm(nn.Sequential(nn.Linear(2, 2), Own(2)), ranks)


def test_torchs_own_synchronised_norm_is_refused_on_the_cpu_that_it_does_not_run_on() -> None:
    with pytest.raises(ValueError, match="the model itself is a SyncBatchNorm"):
        convert_batch_norm(nn.SyncBatchNorm(3), TWO)
