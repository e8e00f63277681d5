import pytest
import torch
from conftest import every

from harness.finetune.base import Finetune, Start
from harness.finetune.keep import Keep
from harness.finetune.none import NoFinetune
from harness.finetune.reinit import Reinit
from harness.finetune.rewind_to_init import RewindToInit
from harness.finetune.weight_rewind import WeightRewind
from harness.tensors import Tensors

FRESH = {"w": torch.tensor([-1.0])}


def dense(epoch: int) -> Tensors:
    return STATES[epoch]


def fresh() -> Tensors:
    return FRESH


STATES = {epoch: {"w": torch.tensor([float(epoch)])} for epoch in range(5)}


def test_fine_tuning_goes_on_with_what_is_left() -> None:
    assert Keep().start(dense, fresh) == Start(None, "retraining", 0)


def test_no_retraining_starts_nothing() -> None:
    assert NoFinetune().start(dense, fresh) is None


def test_reinit_takes_a_fresh_network_and_the_retraining_recipe() -> None:
    start = Reinit().start(dense, fresh)
    assert start.weights is FRESH
    assert (start.recipe, start.first_epoch) == ("retraining", 0)


def test_rewinding_to_init_takes_the_first_weights_and_the_whole_dense_recipe() -> None:
    start = RewindToInit().start(dense, fresh)
    assert start.weights is STATES[0]
    assert (start.recipe, start.first_epoch) == ("training", 0)


def test_weight_rewinding_goes_back_to_an_epoch_and_to_its_learning_rate() -> None:
    start = WeightRewind(epoch=3).start(dense, fresh)
    assert start.weights is STATES[3]
    assert (start.recipe, start.first_epoch) == ("training", 3)
    assert WeightRewind(epoch=3).dense_epochs == (3,)


def test_weight_rewinding_to_epoch_0_is_rewinding_to_init() -> None:
    assert WeightRewind(epoch=0).start(dense, fresh) == RewindToInit().start(dense, fresh)


def test_rewinding_to_before_the_start_is_refused() -> None:
    with pytest.raises(ValueError, match="epoch must be at least 0 .*got -1"):
        WeightRewind(epoch=-1)


@every("finetune")
def test_finetune_asks_only_for_the_dense_epochs_that_it_announces(finetune: Finetune) -> None:
    asked = []

    def watched(epoch: int) -> Tensors:
        asked.append(epoch)
        return STATES[epoch]

    start = finetune.start(watched, fresh)

    assert set(asked) <= set(finetune.dense_epochs)
    assert start is None or (start.recipe in ("training", "retraining") and start.first_epoch >= 0)
