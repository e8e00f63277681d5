"""Tests the state of a run whose model is cut to the units that are left, and expanded again."""

import torch
from parts import Residual
from torch import nn
from whole_runs import SMALL

from harness.distributed import Ranks
from harness.experiment import prune_stage, runner, state
from harness.launch.compose import compose_config
from harness.launch.execute import build
from harness.pruning.removal.compaction import WHOLE, Cut, expand_masks, without_pruned_units
from harness.vocabulary.tensors import Tensors

RUN = (
    "model.hidden=[6,5]", "structure=neuron", "allocation=uniform", "allocation.min_units=1",
    "compact=levels",
)  # fmt: skip


class Comparing(Ranks):
    """Keeps what ranks compare."""

    def __init__(self) -> None:
        super().__init__()
        self.compared: dict[str, Tensors] = {}

    def check_equal(self, tensors: Tensors, what: str) -> None:
        self.compared[what] = tensors


def test_a_cut_model_gets_its_dense_shapes_back_and_ranks_compare_the_cut(tmp_path) -> None:
    ranks = Comparing()
    context, run = runner.prepare(build(compose_config([*SMALL, *RUN])), ranks, tmp_path)
    kept = torch.tensor([True, False, True, True, False, True])
    run.masks.shrink_to({**run.masks.masks, **context.units["fc1.weight"].masks(kept)})
    masks = {name: mask.clone() for name, mask in run.masks.masks.items()}

    prune_stage.compact(context, run)

    indices = {"fc1.weight, 0": [0, 2, 3, 5], "fc1.bias, 0": [0, 2, 3, 5]}
    indices["fc2.weight, 1"] = [0, 2, 3, 5]
    compared = ranks.compared["what is removed of the model"]
    assert {name: found.tolist() for name, found in compared.items()} == indices
    assert run.model.get_parameter("fc2.weight").shape == (5, 4) and run.cut != WHOLE
    assert state.macs_left(context, run) == 8 * 4 + 4 * 5 + 5 * 4

    prune_stage.restore_dense_shapes(context, run)

    assert run.model.get_parameter("fc2.weight").shape == (5, 6) and run.cut == WHOLE
    assert all(torch.equal(run.masks.masks[name], mask) for name, mask in masks.items())


def test_ranks_compare_which_blocks_are_removed() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), Residual(4, 3), nn.Linear(4, 2))
    masks = {n: torch.zeros_like(p, dtype=torch.bool) for n, p in model[1].named_parameters()}
    ranks = Comparing()

    without_pruned_units(
        model, {f"1.{n}": mask for n, mask in masks.items()}, torch.randn(2, 4), ranks.check_equal
    )

    assert list(ranks.compared["what is removed of the model"]) == ["the block 1"]


def test_a_tensor_without_a_mask_has_one_where_its_entries_are_gone() -> None:
    masks = expand_masks({}, Cut({"w": (torch.tensor([1]), None)}, {}), {"w": torch.zeros(2, 2)})
    assert masks["w"].tolist() == [[False, False], [True, True]]


def test_a_parameter_of_a_removed_block_has_a_mask_of_false() -> None:
    cut = Cut({}, {}, blocks=("a",))
    dense = {"a.w": torch.zeros(2), "ab.w": torch.zeros(2)}
    masks = expand_masks({"ab.w": torch.tensor([True, False])}, cut, dense)
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "a.w": [False, False], "ab.w": [True, False],
    }  # fmt: skip
