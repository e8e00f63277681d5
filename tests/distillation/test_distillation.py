import math

import pytest
import torch
import torch.nn.functional as F
from conftest import every
from torch import Tensor

from harness.distillation.hinton import Hinton

LOSS = torch.tensor(10.0)


def logits(*shares: float, temperature: float = 1.0) -> Tensor:
    """Returns the logits of one sample, whose softmax at this temperature has these shares."""
    return temperature * torch.tensor([shares], dtype=torch.float64).log()


def test_two_classes_by_hand() -> None:
    # KL((1/2, 1/2) || (1/4, 3/4)) = ln 2 / 2 + ln(2/3) / 2 = ln(4/3) / 2.
    found = Hinton(temperature=1.0, weight=0.5).loss(logits(1, 3), logits(1, 1), LOSS)
    assert float(found) == pytest.approx(0.5 * 10 + 0.5 * math.log(4 / 3) / 2, rel=1e-12)


def test_the_temperature_divides_the_logits_and_its_square_multiplies_the_divergence() -> None:
    # As above, for logits that are twice those and T = 2.
    found = Hinton(temperature=2.0, weight=0.5).loss(
        logits(1, 3, temperature=2), logits(1, 1, temperature=2), LOSS
    )
    assert float(found) == pytest.approx(5 + 0.5 * 4 * math.log(4 / 3) / 2, rel=1e-12)


def test_the_teacher_comes_first_in_the_divergence() -> None:
    # KL((1/4, 3/4) || (1/2, 1/2)) = ln(1/2) / 4 + 3 ln(3/2) / 4: another number than above.
    found = Hinton(temperature=1.0, weight=1.0).loss(logits(1, 1), logits(1, 3), LOSS)
    assert float(found) == pytest.approx(math.log(0.5) / 4 + 3 * math.log(1.5) / 4, rel=1e-12)


def test_samples_are_summed() -> None:
    twice = [torch.cat([logits(*shares)] * 2) for shares in ((1, 3), (1, 1))]
    found = Hinton(temperature=1.0, weight=1.0).loss(twice[0], twice[1], LOSS)
    assert float(found) == pytest.approx(math.log(4 / 3), rel=1e-12)


def test_positions_of_a_sample_are_averaged_and_samples_summed() -> None:
    # Sample 1 differs from the teacher at one of two positions, sample 2 at both.
    student = torch.stack([torch.cat([logits(1, 3), logits(1, 1)]), torch.cat([logits(1, 3)] * 2)])
    teacher = logits(1, 1).expand(2, 2, 2)

    found = Hinton(temperature=1.0, weight=1.0).loss(student, teacher, LOSS)

    assert float(found) == pytest.approx((0.5 + 1) * math.log(4 / 3) / 2, rel=1e-12)


@pytest.mark.parametrize("shape", [(5, 7), (5, 3, 7)])
def test_it_is_what_torchs_own_divergence_gives(shape) -> None:
    torch.manual_seed(0)
    outputs, teacher = 3 * torch.randn(shape), 3 * torch.randn(shape)
    theirs = F.kl_div(
        (outputs / 4).log_softmax(-1), (teacher / 4).softmax(-1), reduction="batchmean"
    )
    positions = shape[1] if len(shape) == 3 else 1

    found = Hinton(temperature=4.0, weight=0.9).loss(outputs, teacher, LOSS)

    wanted = 0.1 * 10 + 0.9 * 16 * 5 * theirs / positions
    torch.testing.assert_close(found, wanted)


def test_weight_0_gives_the_loss_itself() -> None:
    assert Hinton(weight=0).loss(logits(1, 3), logits(1, 1), LOSS) is LOSS


def test_networks_that_agree_leave_the_labels_share_alone() -> None:
    found = Hinton(weight=0.75).loss(logits(1, 3), logits(1, 3), LOSS)
    assert float(found) == 2.5


def test_the_gradient_is_weight_times_temperature_times_the_difference_of_shares() -> None:
    outputs = logits(1, 3, temperature=2).requires_grad_()
    teacher = logits(1, 1, temperature=2).requires_grad_()

    Hinton(temperature=2.0, weight=0.5).loss(outputs, teacher, LOSS).backward()

    # 0.5 x 2 x ((1/4, 3/4) - (1/2, 1/2))
    assert outputs.grad.tolist() == [[pytest.approx(-0.25), pytest.approx(0.25)]]
    assert teacher.grad is None


def test_the_labels_share_of_the_gradient_stays() -> None:
    outputs = logits(1, 3).requires_grad_()
    loss = 8 * outputs[0, 0]
    Hinton(temperature=1.0, weight=0.75).loss(outputs, outputs.detach(), loss).backward()
    assert outputs.grad.tolist() == [[pytest.approx(2.0), pytest.approx(0.0)]]


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_outputs_are_computed_in_float32(half) -> None:
    torch.manual_seed(0)
    outputs, teacher = torch.randn(64, 10).to(half), torch.randn(64, 10).to(half)
    found = Hinton().loss(outputs.requires_grad_(), teacher, LOSS)
    wanted = Hinton().loss(outputs.detach().float(), teacher.float(), LOSS)

    assert found.dtype == torch.float32
    assert torch.equal(found.detach(), wanted)
    found.backward()
    assert outputs.grad.dtype == half


def test_it_is_the_same_under_autocast() -> None:
    torch.manual_seed(0)
    outputs, teacher = torch.randn(8, 10), torch.randn(8, 10)
    with torch.autocast("cpu", torch.bfloat16):
        found = Hinton().loss(outputs, teacher, LOSS)
    assert torch.equal(found, Hinton().loss(outputs, teacher, LOSS))


def test_a_teacher_that_is_all_but_certain_gives_a_finite_loss() -> None:
    # Its second share is e^-1000 = 0 in any precision; KL = ln 2.
    teacher = torch.tensor([[1000.0, 0.0]])
    found = Hinton(temperature=1.0, weight=1.0).loss(torch.zeros(1, 2), teacher, LOSS)
    assert float(found) == pytest.approx(math.log(2))


@every("distillation")
@pytest.mark.parametrize("shape", [(0, 3), (0, 4, 3)])
def test_a_rank_without_a_sample_adds_nothing(distillation, shape) -> None:
    outputs = torch.zeros(shape, requires_grad=True)
    found = distillation.loss(outputs, torch.zeros(shape), outputs.sum())
    found.backward()
    assert float(found.detach()) == 0.0


@every("distillation")
def test_outputs_of_another_shape_are_refused(distillation) -> None:
    says = r"outputs of equal shapes, got \(4, 3\) of the model and \(4, 1\) of the teacher"
    with pytest.raises(ValueError, match=says):
        distillation.loss(torch.zeros(4, 3), torch.zeros(4, 1), LOSS)


@pytest.mark.parametrize("shape", [(3,), (4, 3, 2, 2)])
def test_outputs_of_other_dimensions_are_refused(shape) -> None:
    with pytest.raises(ValueError, match="leave distillation out for this model"):
        Hinton().loss(torch.zeros(shape), torch.zeros(shape), LOSS)


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan, math.inf, True, "4"])
def test_temperature_must_be_above_0(temperature) -> None:
    with pytest.raises(ValueError, match="temperature must be a number above 0, got"):
        Hinton(temperature=temperature)


@pytest.mark.parametrize("weight", [-0.1, 1.1, 90, math.nan, True, "0.5"])
def test_weight_must_be_a_share(weight) -> None:
    with pytest.raises(ValueError, match=r"weight must be a number in \[0, 1\], got"):
        Hinton(weight=weight)
