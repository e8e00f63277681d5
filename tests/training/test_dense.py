"""Tests states of dense training: trained once, kept in a folder, the same as without one."""

import copy
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cached_training import CONTEXT, FIRST, RECIPE, dense, network, split
from cutting import Cut, cut

from harness.distributed import Ranks
from harness.distributed.stop_signal import StopSignal
from harness.run_folder.checkpoints import Policy
from harness.system.errors import NotFinite
from harness.task.classification import Classification
from harness.training.checkpointing import Checkpointer
from harness.training.context import Hooks, TrainingContext
from harness.training.loop import Loop
from harness.training.state_files import build_seeded, load_stored, store
from harness.vocabulary.step_index import StepIndex
from harness.vocabulary.tensors import Tensors, clone_tensors


def plain(epochs: int) -> Tensors:
    model = copy.deepcopy(FIRST)
    RECIPE.fit(model, CONTEXT, Hooks(), stop=StepIndex(epochs))
    return clone_tensors(model.state_dict())


def check_same(one: Tensors, other: Tensors) -> None:
    assert list(one) == list(other)
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "ab" / "cache").iterdir())


@pytest.mark.parametrize("epoch", [0, 1, 3, 4])
def test_a_state_is_that_of_plain_training_stopped_there(tmp_path, epoch) -> None:
    check_same(dense(tmp_path).at(StepIndex(epoch)), plain(epoch))


def test_the_initial_network_needs_no_file(tmp_path) -> None:
    check_same(dense(tmp_path).at(StepIndex(0)), clone_tensors(FIRST.state_dict()))
    assert list(tmp_path.iterdir()) == []


def test_the_asked_epoch_and_the_kept_ones_are_stored(tmp_path) -> None:
    dense(tmp_path, 1, 3).at(StepIndex(4))
    assert files(tmp_path) == [f"epoch-0000{epoch}.safetensors" for epoch in (1, 3, 4)]


def test_a_second_call_loads_and_does_not_train(tmp_path) -> None:
    trained: list[int] = []
    first = dense(tmp_path).at(StepIndex(4), lambda done, curve: trained.append(done))
    assert trained == [1, 2, 3, 4]
    check_same(
        dense(tmp_path).at(StepIndex(4), lambda done, curve: pytest.fail("trained again")), first
    )


def test_a_kept_epoch_is_loaded_and_is_the_state_of_that_epoch(tmp_path) -> None:
    dense(tmp_path, 2).at(StepIndex(4))
    again = dense(tmp_path).at(StepIndex(2), lambda done, curve: pytest.fail("trained again"))
    check_same(again, plain(2))


def test_a_missing_epoch_is_trained_again_bit_for_bit(tmp_path) -> None:
    dense(tmp_path, 2).at(StepIndex(4))
    kept = dense(tmp_path).at(StepIndex(2))
    (tmp_path / "ab" / "cache" / "epoch-00002.safetensors").unlink()
    trained: list[int] = []
    check_same(dense(tmp_path).at(StepIndex(2), lambda done, curve: trained.append(done)), kept)
    assert trained == [1, 2]


def test_it_says_which_epochs_it_has(tmp_path) -> None:
    cache = dense(tmp_path, 2)
    assert [cache.has(StepIndex(epoch)) for epoch in range(5)] == [True, False, False, False, False]
    cache.at(StepIndex(4))
    assert [cache.has(StepIndex(epoch)) for epoch in range(5)] == [True, False, True, False, True]


def test_callers_cannot_spoil_each_others_states(tmp_path) -> None:
    cache = dense(tmp_path)
    for epoch in (0, 4):
        cache.at(StepIndex(epoch))["fc1.weight"].zero_()
        assert cache.at(StepIndex(epoch))["fc1.weight"].any()


@pytest.mark.parametrize("epoch", [-1, 5])
def test_an_epoch_beyond_the_recipe_is_refused(tmp_path, epoch) -> None:
    with pytest.raises(ValueError, match=f"epoch {epoch} is not in dense training, .* 4 epochs"):
        dense(tmp_path).at(StepIndex(epoch))
    assert list(tmp_path.iterdir()) == []


def test_training_that_fails_leaves_no_state_and_no_lock(tmp_path) -> None:
    bad = split()
    bad.inputs[0] = torch.nan
    context = TrainingContext(bad, Classification(), Ranks(), seed=0, level=0)
    for _ in range(2):
        with pytest.raises(NotFinite):
            dense(tmp_path, context=context).at(StepIndex(4))
    assert files(tmp_path) == []


def test_of_two_that_ask_at_once_one_trains(tmp_path) -> None:
    trained: list[int] = []
    states: list[Tensors] = []
    start = threading.Barrier(2)

    def ask() -> None:
        start.wait(10)
        states.append(dense(tmp_path).at(StepIndex(4), lambda done, curve: trained.append(done)))

    both = [threading.Thread(target=ask) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(30)
    assert trained == [1, 2, 3, 4]
    check_same(*states)


def test_initial_weights_follow_from_the_seed_and_leave_the_global_stream_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = build_seeded(network, 3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(9)
    check_same(dict(build_seeded(network, 3).state_dict()), dict(one))
    assert not torch.equal(build_seeded(network, 4).state_dict()["fc1.weight"], one["fc1.weight"])


def test_a_training_stopped_beyond_an_epochs_end_is_not_taken_for_that_epoch(tmp_path, monkeypatch):
    # Stopped in the third epoch, of which one step is done.
    policy = Policy(every_steps=1)
    checkpointer = Checkpointer(Ranks(), StopSignal(Ranks()), policy, numerics={}, code="")
    training = replace(dense(tmp_path), checkpointer=checkpointer)
    cut(monkeypatch, Loop, "_update", 2 * 4 + 2, False)
    with pytest.raises(Cut):
        training.at(StepIndex(3))
    monkeypatch.undo()

    check_same(training.at(StepIndex(2)), plain(2))
    check_same(training.at(StepIndex(3)), plain(3))


@pytest.mark.parametrize(
    "index", [StepIndex(0, 3), StepIndex(2, 1), StepIndex(0, 4), StepIndex(1, 2)]
)
def test_a_state_inside_an_epoch_is_that_of_training_stopped_at_that_step(tmp_path, index) -> None:
    model = copy.deepcopy(FIRST)
    RECIPE.fit(model, CONTEXT, Hooks(), stop=index)

    alone = dense(tmp_path / "alone").at(index)
    on_the_way = replace(dense(tmp_path / "way"), keep=[index])
    on_the_way.at(StepIndex(4))
    kept = on_the_way.at(index, lambda done, curve: pytest.fail("trained again"))

    check_same(alone, clone_tensors(model.state_dict()))
    check_same(kept, alone)
    check_same(on_the_way.at(StepIndex(4)), plain(4))


def test_a_step_beyond_dense_training_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"step 17 is not in dense .* 4 epochs of 4 st.*16 in"):
        dense(tmp_path).at(StepIndex(0, 17))
    assert dense(tmp_path).normalized(StepIndex(0, 16)) == StepIndex(4)


def test_a_state_whose_numbers_are_read_as_others_is_damaged(tmp_path) -> None:
    file = tmp_path / "state.safetensors"
    state = {"weight": torch.tensor([[1.0, 2.0]])}
    store(file, state, "note")
    assert load_stored(file) is not None
    whole = file.read_bytes()
    for before, after in (('"F32"', '"I32"'), ('"shape":[1,2]', '"shape":[2,1]'), ("note", "Note")):
        file.write_bytes(whole.replace(before.encode(), after.encode()))
        assert file.read_bytes() != whole
        assert load_stored(file) is None, after
