import copy

import pytest
import safetensors.torch
import torch
from parts import Banked
from torch import Tensor, nn

import harness
from harness.model_state.whole_state import load_into, whole_state
from harness.training.pretrained import load_weights
from harness.training.rank_state import load_rank_state, rank_state

NAMES = ["0.weight", "0.bias", "1.bank", "1.last", "2.weight", "2.bias"]


def banked(seed: int, batches: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = Banked(hidden=[4]).build((3,), 2)
    for _ in range(batches):
        model(torch.randn(5, 3))
    return model


def test_buffers_that_state_dict_leaves_out_belong_to_the_whole_state() -> None:
    model = banked(0, batches=1)
    assert list(whole_state(model)) == NAMES
    assert list(model.state_dict()) == [*NAMES[:2], *NAMES[4:]]


def test_a_whole_state_is_taken_over_by_another_network_of_the_kind() -> None:
    trained, new = banked(0, batches=3), banked(1)
    load_into(new, whole_state(trained))
    inputs = torch.randn(2, 3)
    assert torch.equal(new.eval()(inputs), trained.eval()(inputs))
    assert list(whole_state(new)) == NAMES


def test_a_buffer_that_was_none_or_of_another_shape_or_dtype_is_so_again() -> None:
    before, after = banked(0), banked(1, batches=2)
    after[1].bank = torch.zeros(2, 7, dtype=torch.float64)
    load_into(after, whole_state(before))
    assert after[1].last is None and after[1].bank.shape == (4,)
    assert after[1].bank.dtype == torch.float32


def test_what_holds_a_parameter_or_a_buffer_sees_what_is_loaded() -> None:
    model, other = banked(0, batches=1), banked(1, batches=1)
    weight, bank = model[0].weight, model[1].bank
    load_into(model, whole_state(other))
    assert model[0].weight is weight and model[1].bank is bank
    assert torch.equal(bank, other[1].bank)


def test_inside_an_epoch_each_rank_takes_up_its_own_buffers_of_any_shape() -> None:
    model, total = banked(0, batches=2), torch.zeros((), dtype=torch.float64)
    saved = rank_state(copy.deepcopy(model), total)
    fresh = banked(0)
    load_rank_state(saved, fresh, total)
    assert torch.equal(fresh[1].bank, model[1].bank) and torch.equal(fresh[1].last, model[1].last)


def test_shared_parameters_keep_all_of_their_names() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    assert whole_state(model).keys() == model.state_dict().keys()


def test_the_state_of_another_network_is_refused_by_name() -> None:
    state = whole_state(banked(0, batches=1))
    with pytest.raises(ValueError, match=r"bias is in one only of the stored state and Linear"):
        load_into(nn.Linear(3, 4), state)
    with pytest.raises(ValueError, match=r"0\.weight has shape \(4, 3\) in the stored state and"):
        load_into(Banked(hidden=[4]).build((5,), 2), state)
    with pytest.raises(ValueError, match=r"0\.weight is in one only"):
        load_into(banked(0), {n: v for n, v in state.items() if n != "0.weight"})


def test_weights_of_a_user_may_lack_the_buffers_that_state_dict_leaves_out(tmp_path) -> None:
    trained = banked(0, batches=2)
    safetensors.torch.save_file(trained.state_dict(), tmp_path / "plain.safetensors")
    safetensors.torch.save_file(whole_state(trained), tmp_path / "whole.safetensors")
    for name in ("plain", "whole"):
        model = banked(1, batches=1)
        load_weights(model, tmp_path / f"{name}.safetensors")
        assert torch.equal(model[0].weight, trained[0].weight)
        assert torch.equal(model[1].bank, trained[1].bank) == (name == "whole")


class Counting(nn.Module):
    """Keeps what it counts in the way that torch has for it."""

    def __init__(self, count: object):
        super().__init__()
        self.layer, self.count = nn.Linear(2, 2), count

    def get_extra_state(self) -> object:
        return self.count

    def set_extra_state(self, state: Tensor) -> None:
        self.count = state


def test_extra_state_is_kept_if_it_is_a_tensor_and_refused_by_name_if_not() -> None:
    new = nn.Sequential(Counting(torch.tensor(0)))
    load_into(new, whole_state(nn.Sequential(Counting(torch.tensor(3)))))
    assert new[0].count == torch.tensor(3)
    with pytest.raises(ValueError, match="0 returns int from get_extra_state, .*return a tensor"):
        whole_state(nn.Sequential(Counting(3)))


class Graph(nn.Module):
    """A graph convolution: sums over neighbours, of a sparse adjacency matrix."""

    def __init__(self, layout: torch.layout):
        super().__init__()
        self.mix, self.last = nn.Linear(4, 4), nn.Linear(4, 2)
        whole = torch.eye(4)
        adjacency = whole if layout is torch.strided else whole.to_sparse(layout=layout)
        self.register_buffer("adjacency", adjacency)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.adjacency @ self.mix(x))


SPARSE = pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
BETA = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")


@SPARSE
@BETA
def test_a_network_with_a_sparse_buffer_is_pruned_like_its_dense_twin(layout) -> None:
    networks = []
    for kept in (layout, torch.strided):
        torch.manual_seed(0)
        networks.append(Graph(kept))
    batches = [(torch.randn(4, 4), torch.tensor([0, 1, 0, 1]))]
    found, same = (harness.prune(one, 0.5, method="snip", batches=batches) for one in networks)
    assert all(torch.equal(found[name], same[name]) for name in same)


@SPARSE
@BETA
def test_a_sparse_buffer_is_refused_where_files_are_to_hold_it(layout) -> None:
    with pytest.raises(ValueError, match="adjacency is torch.sparse_.*plain attribute"):
        whole_state(Graph(layout))


class Late(nn.Module):
    """Registers what it keeps when it first sees how large that is."""

    def forward(self, inputs: Tensor) -> Tensor:
        if not hasattr(self, "late"):
            self.register_buffer("late", torch.zeros(inputs.shape[1]))
        self.late = self.late + inputs.detach().mean(0)
        return inputs + self.late


def test_a_buffer_that_a_forward_registers_is_made_room_for_in_its_own_module_alone() -> None:
    def built() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), Late(), nn.ReLU())

    model, fresh, inputs = built(), built(), torch.ones(2, 3)
    model(inputs)
    load_into(fresh, whole_state(model))
    assert torch.equal(fresh[1].late, model[1].late)
    assert torch.equal(fresh(inputs), model(inputs))
    with pytest.raises(ValueError, match=r"2\.late is in one only"):
        load_into(built(), {**whole_state(built()), "2.late": torch.ones(4)})
