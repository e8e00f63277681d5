"""Labels of -100, torch's ignore_index: padding, or what nobody labelled. They count in nothing."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from portioned import group, steps
from small_training import trainer
from torch import Tensor, nn

import harness
from harness.data.base import Split, Splits
from harness.data.calibration import Samples
from harness.distillation.hinton import Hinton
from harness.distributed import Ranks
from harness.experiment.checks.given_data import check_data
from harness.experiment.workload import Workload
from harness.models.mlp import Mlp
from harness.task.base import IGNORED, Task, sample_weights
from harness.task.classification import Classification
from harness.task.language_modelling import LanguageModelling
from harness.training.batches.batching import batch_sizes
from harness.training.context import Hooks, TrainingContext
from harness.training.evaluation import evaluate

LN3 = math.log(3)
SENTENCES = torch.tensor([[0, 1, IGNORED, IGNORED], [1, 1, 1, IGNORED], [0, 1, 0, 1]])


def context(split: Split, task: Task) -> TrainingContext:
    return TrainingContext(split, task, Ranks(), seed=0, level=0)


@pytest.mark.parametrize("batch_size", [1, 2, 1000])
def test_samples_without_a_label_leave_loss_and_hits_as_without_them(batch_size) -> None:
    # Chances of class 1: 3/4, 3/4, 1/2 and 1/2.
    outputs = torch.tensor([[0.0, LN3], [0.0, LN3], [0.0, 0.0], [0.0, 0.0]])
    split = Split(outputs, torch.tensor([1, 0, IGNORED, IGNORED]))
    found = evaluate(nn.Identity(), split, Classification(), Ranks(), batch_size)
    assert found.loss == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)
    assert (found.top1, found.top5) == (0.5, 1.0)


@pytest.mark.parametrize("batch_size", [1, 2, 1000])
def test_a_sequences_padding_counts_nowhere_so_that_exp_of_the_loss_is_the_perplexity(batch_size):
    outputs = torch.zeros(3, 4, 2)
    outputs[..., 1] = LN3  # chances 1/4 of the three labels 0, 3/4 of the six labels 1
    split = Split(outputs, SENTENCES)
    found = evaluate(nn.Identity(), split, LanguageModelling(), Ranks(), batch_size)
    assert math.exp(found.loss) == pytest.approx((4**3 * (4 / 3) ** 6) ** (1 / 9))
    assert (found.top1, found.top5) == (pytest.approx(6 / 9), 1.0)


@pytest.mark.parametrize("pad", [True, False])
def test_a_network_that_is_right_wherever_there_is_a_label_has_a_top_1_of_1(pad) -> None:
    labels = (7 * torch.arange(80).view(10, 8) + 3) % 50
    outputs = 100 * F.one_hot(labels, 50).float()
    padded = torch.where(torch.arange(8) < 4, labels, IGNORED) if pad else labels
    found = evaluate(nn.Identity(), Split(outputs, padded), LanguageModelling(), Ranks())
    assert (found.top1, found.top5, found.loss) == (1.0, 1.0, 0.0)


def test_one_sample_is_worth_the_share_of_its_labels_that_count() -> None:
    assert sample_weights(LanguageModelling(), SENTENCES).tolist() == [0.5, 0.75, 1.0]
    assert sample_weights(Classification(), torch.tensor([3, IGNORED])).tolist() == [1.0, 0.0]


def test_a_task_that_does_not_say_what_counts_counts_all() -> None:
    class Own:
        def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
            return outputs.sum()

        def measure(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
            return dict.fromkeys(("top1", "top5", "loss"), outputs.sum())

    split = Split(torch.ones(2, 1), torch.tensor([3, IGNORED]))
    assert context(split, Own()).sample_weights is None
    assert evaluate(nn.Identity(), split, Own(), Ranks()).loss == 1.0


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_every_label_that_counts_weighs_the_same_on_any_number_of_ranks(world, accumulate) -> None:
    counts = torch.tensor([1.0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0], dtype=torch.float64)
    order = torch.tensor([4, 1, 2, 3, 0, 5, 6, 7, 8, 9, 10])
    sizes = batch_sizes(order, 4, counts)
    assert sizes == [2.0, 2.0, 0.0]
    weight = torch.zeros(11)
    for ranks in group(world):
        for step in steps(order, 4, ranks, accumulate, sizes):
            for micro_batch in step:
                weight[micro_batch.indices] += micro_batch.scale / world
    assert torch.equal(weight[counts > 0], torch.full((4,), 0.5))
    assert not weight[[8, 9, 10]].any()  # of a batch in which nothing counts


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("task", [Classification(), LanguageModelling()])
def test_a_step_goes_along_torchs_own_mean_over_the_labels_that_count(task, accumulate) -> None:
    torch.manual_seed(0)
    model = nn.Linear(5, 2)
    positions = (4,) if isinstance(task, LanguageModelling) else ()
    inputs, labels = torch.randn(3, *positions, 5), SENTENCES if positions else SENTENCES[0, :3]
    outputs = model(inputs).flatten(0, -2)
    loss = F.cross_entropy(outputs, labels.flatten())  # its ignore_index is -100
    (wanted,) = torch.autograd.grad(loss, model.weight)
    before = model.weight.detach().clone()

    fit = trainer(accumulate=accumulate).fit(model, context(Split(inputs, labels), task), Hooks())

    assert torch.allclose(before - model.weight, wanted, atol=1e-6)
    assert fit.curve.losses == [pytest.approx(loss.item())]


def test_a_batch_without_a_label_moves_nothing() -> None:
    model = nn.Linear(2, 2)
    before = model.weight.detach().clone()
    split = Split(torch.ones(2, 2), torch.tensor([IGNORED, IGNORED]))
    fit = trainer().fit(model, context(split, Classification()), Hooks())
    assert torch.equal(model.weight, before) and fit.curve.losses == [0.0]


def test_calibration_draws_only_samples_with_a_label_that_counts() -> None:
    labels = torch.tensor([0, IGNORED, 1, IGNORED, 1, 0, IGNORED])
    split, counted = Split(torch.zeros(7, 1), labels), {0, 2, 4, 5}
    some = context(split, Classification()).sample_weights
    for samples in (Samples(4), Samples(4, balanced=False), Samples(None, per_class=2)):
        assert set(samples.indices(split, 2, 0, some).tolist()) == counted
    with pytest.raises(ValueError, match="samples=5, but there are only 4 training samples with a"):
        Samples(5).indices(split, 2, 0, some)


def test_a_split_none_of_whose_labels_counts_is_refused_before_training() -> None:
    good = Split(torch.zeros(2, 1), torch.tensor([0, IGNORED]))
    bare = Split(torch.zeros(2, 1), torch.tensor([IGNORED, IGNORED]))
    subject = Workload(
        Mlp(hidden=[2]), Splits(good, good, good, 2), Classification(), Ranks(), 0, torch.float32
    )
    check_data(subject)
    odd = replace(subject, splits=Splits(good, good, bare, 2))
    with pytest.raises(ValueError, match="no label of the test data counts: all of 2 .* -100"):
        check_data(odd)
    with pytest.raises(ValueError, match="no label of these 2 samples counts"):
        evaluate(nn.Identity(), bare, Classification(), Ranks())


def test_a_student_learns_nothing_from_its_teacher_where_no_label_counts() -> None:
    own = torch.tensor(0.0)
    for outputs, labels in (
        (torch.randn(3, 4, 2), SENTENCES),
        (torch.randn(3, 2), torch.tensor([1, IGNORED, 0])),
    ):
        teacher = torch.where((labels == IGNORED).unsqueeze(-1), 50.0, outputs + 1)
        teacher[..., 0] += 1
        wild = torch.where((labels == IGNORED).unsqueeze(-1), torch.randn(2), teacher)
        counts = labels != IGNORED
        found, same = (Hinton().loss(outputs, one, own, counts) for one in (teacher, wild))
        assert float(found) > 0 and torch.equal(found, same)
        everything = Hinton().loss(outputs, wild, own)
        assert torch.equal(everything, Hinton().loss(outputs, wild, own, torch.ones_like(counts)))


@pytest.mark.parametrize("saliency", ["gradient", "fisher", "obs", "wanda"])
@pytest.mark.parametrize("positions", [(), (2,)])
def test_samples_without_a_label_are_no_samples_for_the_api_either(saliency, positions) -> None:
    torch.manual_seed(0)
    model, inputs = nn.Linear(3, 2), torch.randn(6, *positions, 3)
    labels = torch.randint(0, 2, (6, *positions))
    labels[[0, 1, 4]] = IGNORED

    def loss(outputs: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(outputs.flatten(0, -2), y.flatten(), reduction="sum")

    batches = [(inputs[:2], labels[:2]), (inputs[2:], labels[2:])]
    found = harness.score(model, saliency, batches=batches, loss=loss)
    few = [(inputs[[2, 3, 5]], labels[[2, 3, 5]])]
    wanted = harness.score(model, saliency, batches=few, loss=loss)
    assert torch.allclose(found["weight"], wanted["weight"], rtol=1e-5)
    with pytest.raises(ValueError, match="give batches, .* with labels that count"):
        harness.score(model, saliency, batches=batches[:1], loss=loss)
