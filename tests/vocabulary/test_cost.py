"""Tests the cost of training by hand: LeNet-300-100 has 784*300 + 300*100 + 100*10 MACs."""

from conftest import cases

from harness.vocabulary.flops import TrainingCost, examples_until, training_cost

DENSE = 266_200
TENTH = 26_620


@cases("step, seen", (0, 0), (1, 128), (31, 3968), (32, 4000), (33, 4128), (64, 8000))
def test_the_last_batch_of_an_epoch_is_partial(step, seen) -> None:
    # 4,000 samples: 31 batches of 128 and one of 32.
    assert examples_until(step, samples=4000, batch_size=128) == seen


def test_batches_that_divide_the_samples_are_all_whole() -> None:
    assert [examples_until(step, samples=8, batch_size=4) for step in (1, 2, 3)] == [4, 8, 12]


def test_a_batch_larger_than_the_samples_is_an_epoch() -> None:
    assert [examples_until(step, samples=10, batch_size=64) for step in (0, 1, 2)] == [0, 10, 20]


def test_a_dense_step_takes_two_flops_forward_and_four_backward() -> None:
    assert training_cost(steps=1, examples=128, live_macs=DENSE, dense_macs=DENSE) == TrainingCost(
        steps=1,
        examples=128,
        flops=204_441_600,  # 6 x 266,200 x 128
        flops_dense=204_441_600,
    )


def test_masks_save_their_share_of_the_flops_of_the_same_steps() -> None:
    found = training_cost(steps=2, examples=200, live_macs=TENTH, dense_macs=DENSE)
    assert found == TrainingCost(2, 200, flops=31_944_000, flops_dense=319_440_000)


def test_examples_whose_gradients_reach_pruned_weights_cost_what_the_masks_had_saved_there():
    # Of 200 examples 100 were seen by all weights: (266,200 - 26,620) x 100 x 2 more.
    found = training_cost(
        steps=2, examples=200, live_macs=TENTH, dense_macs=DENSE, dense_gradient_examples=100
    )
    assert found == TrainingCost(2, 200, flops=31_944_000 + 47_916_000, flops_dense=319_440_000)


def test_a_step_of_rigl_that_sees_all_weights_costs_two_sparse_passes_and_a_dense_one() -> None:
    # Evci et al. 2020, appendix H: 2 f_S + f_D, f being the FLOPs of a forward pass.
    found = training_cost(
        steps=1, examples=1, live_macs=TENTH, dense_macs=DENSE, dense_gradient_examples=1
    )
    assert found.flops == 2 * (2 * TENTH) + 2 * DENSE == 638_880


def test_a_teacher_costs_a_dense_forward_pass_beside_the_student() -> None:
    found = training_cost(
        steps=1, examples=128, live_macs=TENTH, dense_macs=DENSE, teacher_examples=128
    )
    assert found.flops == 20_444_160 + 68_147_200  # 6 x 26,620 x 128 and 2 x 266,200 x 128
    assert found.flops_dense == 204_441_600


def test_nothing_trained_costs_nothing() -> None:
    assert (
        training_cost(steps=0, examples=0, live_macs=TENTH, dense_macs=DENSE)
        == TrainingCost()
        == TrainingCost(0, 0, 0, 0)
    )


def test_costs_of_stretches_add_up() -> None:
    assert TrainingCost(1, 20, 300, 4000) + TrainingCost(5, 60, 700, 8000) == TrainingCost(
        6, 80, 1000, 12000
    )
    assert sum([TrainingCost(1, 2, 3, 4)] * 3, TrainingCost()) == TrainingCost(3, 6, 9, 12)
