"""Retraining that learns from the dense network, in whole runs."""

import pytest
import torch
from command import only_run, records_of
from conftest import CONF
from forked_ranks import harness_on_ranks
from torch import nn
from torch.nn.functional import cross_entropy
from whole_runs import SMALL, TWO_LEVELS, differing, whole_run

from harness.experiment import train_stage
from harness.run_folder.export import read_exported

DROPPING = "model._target_=parts.Dropping"
HINTON = "distillation=hinton"
RETRAINING = [file.stem for file in sorted((CONF / "finetune").glob("*.yaml"))]
RETRAINING.remove("none")


@pytest.mark.parametrize("mode", RETRAINING)
def test_the_teacher_is_the_dense_network_to_the_last_whatever_is_retrained(
    tmp_path, mode, monkeypatch
) -> None:
    teachers: list[nn.Module] = []
    found = train_stage._teacher
    monkeypatch.setattr(
        train_stage, "_teacher", lambda context: teachers.append(found(context)) or teachers[-1]
    )
    whole = whole_run(tmp_path, *TWO_LEVELS, DROPPING, HINTON, f"finetune={mode}")
    assert len(teachers) == 2
    for teacher in teachers:
        assert differing(dict(teacher.state_dict()), whole.networks[0, "dense"]) == []
        assert not any(module.training for module in teacher.modules())
        assert not any(p.requires_grad or p.grad is not None for p in teacher.parameters())
    assert whole.stages[-1] == (2, "finetuned")


@pytest.mark.parametrize(("temperature", "weight"), [(4.0, 0.9), (1.5, 0.3)])
def test_the_first_loss_of_every_level_by_hand(tmp_path, temperature, weight) -> None:
    """(1 - w) CE(student) + w T^2 sum p ln(p / q), summed over the samples."""
    whole = whole_run(
        tmp_path, *TWO_LEVELS, HINTON, "dtype=float64", f"distillation.temperature={temperature}",
        f"distillation.weight={weight}",
    )  # fmt: skip
    student, teacher = (
        whole.levels.context.workload.initial_model(),
        whole.levels.context.workload.initial_model(),
    )
    teacher.load_state_dict(whole.networks[0, "dense"])
    for level in (1, 2):
        step = whole.of(level)[0]
        ((inputs, labels),), (loss,) = step.batches, step.losses
        student.load_state_dict(step.weights)
        outputs, taught = student(inputs).detach(), teacher(inputs).detach()
        p = (taught / temperature).softmax(1)
        q = (outputs / temperature).softmax(1)
        soft = float((p * (p / q).log()).sum())
        hard = float(cross_entropy(outputs, labels, reduction="sum"))
        by_hand = (1 - weight) * hard + weight * temperature**2 * soft
        assert loss == pytest.approx(by_hand, rel=1e-10)
        assert loss != pytest.approx(hard, rel=1e-3)


def test_a_teacher_looks_at_what_the_student_sees(tmp_path) -> None:
    """Checks that the student is the teacher, on shifted inputs too, as nothing is pruned.

    The student stays so: with the labels left out there is nothing to learn.
    """
    whole = whole_run(
        tmp_path, HINTON, "distillation.weight=1.0", "schedule.final=1.0", "dtype=float64",
        "+retraining.augmentation._target_=parts.Shifting", "retraining.accumulate=2",
        "training@retraining=sgd",
    )  # fmt: skip
    assert [len(step.losses) for step in whole.of(1)] == [2, 2, 2]
    for step in whole.of(1):
        assert step.losses == pytest.approx([0.0, 0.0], abs=1e-12)


def test_dense_training_and_penalties_have_no_teacher(tmp_path) -> None:
    with_one, without = (
        whole_run(tmp_path / str(len(more)), "penalty=l1", *more) for more in ((HINTON,), ())
    )
    for streams in (0, "1/penalty"):
        one, other = ([s.losses for s in whole.of(streams)] for whole in (with_one, without))
        assert one == other
    assert with_one.record(1, "pruned") == without.record(1, "pruned")
    assert with_one.of(1)[0].losses != without.of(1)[0].losses


def test_a_teacher_draws_nothing_from_the_students_random_streams(tmp_path) -> None:
    with_one, without = (
        whole_run(tmp_path / str(len(more)), DROPPING, *more)
        for more in ((HINTON, "distillation.weight=0.0"), ())
    )
    assert differing(with_one.networks[1, "finetuned"], without.networks[1, "finetuned"]) == []


def test_two_ranks_penalise_recalibrate_and_distil_as_one(tmp_path) -> None:
    arguments = (
        *SMALL, *TWO_LEVELS, HINTON, "penalty=growing_l2", "penalty.step_size=0.1",
        "recalibration=batch_norm", "recalibration.samples=32", "recalibration.batch_size=16",
        "model.batch_norm=true", "sync_batch_norm=true", "dtype=float64", "structure=row",
        "schedule.final=0.5", "finetune=weight_rewind", "finetune.step=4", "training.epochs=3",
    )  # fmt: skip
    for ranks in (1, 2):
        done = harness_on_ranks(ranks, *arguments, f"output_dir={tmp_path}/{ranks}")
        assert done.returncode == 0, done.stderr
    one, two = (only_run(tmp_path / str(ranks)) for ranks in (1, 2))
    assert [(r.level, r.stage) for r in records_of(one)] == [
        (0, "dense"),
        *((level, s) for level in (1, 2) for s in
          ("penalised", "pruned", "recalibrated", "finetuned")),
    ]  # fmt: skip
    for mine, theirs in zip(records_of(one), records_of(two), strict=True):
        assert (mine.masks, mine.top1, mine.steps) == (theirs.masks, theirs.top1, theirs.steps)
        assert mine.training_flops == theirs.training_flops
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-9)
        assert (mine.gradient_norm or 0) == pytest.approx(theirs.gradient_norm or 0, rel=1e-7)
    state, other = read_exported(one).state, read_exported(two).state
    for name, tensor in state.items():
        torch.testing.assert_close(other[name], tensor, rtol=1e-9, atol=1e-12)
