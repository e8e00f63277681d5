"""Checks before any training that data, task and model fit each other."""

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.data.base import Split
from harness.data.shared.splits import PARTS
from harness.distillation.base import Distillation
from harness.distributed import Ranks
from harness.experiment.workload import Workload
from harness.task.base import Task, check_labels, label_mask_of
from harness.task.shared.sums import FEW, TRIES, Totals, check_sums
from harness.training.batches.batching import micro_batches
from harness.vocabulary.finite import is_finite
from harness.vocabulary.given.batches import explain_input_errors, kind_of
from harness.vocabulary.given.errors import first_line
from harness.vocabulary.given.inputs import (
    Inputs,
    call_model,
    clone_inputs,
    describe_inputs,
    first_samples,
    input_tensors,
)
from harness.vocabulary.nested import named_entries
from harness.vocabulary.tensors import eval_mode
from harness.vocabulary.undisturbed import preserve_model

OUR_TASKS = "harness.task."


def check_data(workload: Workload) -> None:
    """Checks inputs and labels of splits that hold them as tensors.

    Raises:
        ValueError: an input or label is not finite, the task cannot use a label, or no label of a
            split counts.
    """
    splits = workload.splits
    for part in PARTS:
        split = getattr(splits, part)
        held = input_tensors(split.inputs) if isinstance(split, Split) else []
        if any(tensor.is_floating_point() and not is_finite(tensor) for tensor in held):
            raise ValueError(
                f"inputs of the {part} data hold NaN or infinity; clean them, or leave these "
                "samples out"
            )
        labels = getattr(split, "labels", None)
        if isinstance(labels, Tensor):
            check_labels(workload.task, labels, splits.classes, f"the {part} data")


def check_outputs(workload: Workload, model: nn.Module) -> None:
    """Runs the model on the first samples and checks that the task can read the outputs.

    Raises:
        ValueError: the model cannot compute with the inputs, returns more than a tensor, or has
            too few outputs.
    """
    inputs, task = workload.sample(), workload.task
    with preserve_model(model), eval_mode(model), torch.no_grad():
        outputs = _outputs(model, inputs)
        if not isinstance(outputs, Tensor) and _is_our_loss(task):
            raise ValueError(_which_output(model, outputs))
        check = getattr(task, "check_outputs", None)
        if check is not None:
            check(outputs, workload.splits.classes)


def _is_our_loss(task: Task) -> bool:
    """True if the loss is one of the harness, which reads a tensor; another may take all apart."""
    return type(task).loss.__module__.startswith(OUR_TASKS)


def _which_output(model: nn.Module, outputs: Any) -> str:
    """Returns a refusal that names the entries of outputs, and the key that chooses one."""
    entries = named_entries(outputs)
    listed = ", ".join(
        f"{name} {tuple(entry.shape)}" if isinstance(entry, Tensor) else name
        for name, entry in entries.items()
    )
    likely = [name for name in entries if name != "loss"]
    one = "logits" if "logits" in entries else likely[0] if likely else "NAME"
    return (
        f"{type(model).__name__} returns {kind_of(outputs)}, and the task reads one tensor; name "
        f"the entry that is the output, e.g. model=python model.output={one} (entries: "
        f"{listed or 'none'}), or return it alone"
    )


def _outputs(model: nn.Module, inputs: Inputs) -> Any:
    try:
        with explain_input_errors("inputs of the data", inputs):
            return call_model(model, clone_inputs(inputs))  # a model may write into its inputs
    except (RuntimeError, IndexError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = (__file__, call_model.__code__.co_filename)
        own = [
            f for f in frames if f.filename not in ours and "torch" not in Path(f.filename).parts
        ]
        place = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
        raise ValueError(
            f"{type(model).__name__} fails on the data's inputs {describe_inputs(inputs)}: "
            f"{first_line(error)}{place}; let build make a "
            "model for the shape that it is given"
        ) from error


def check_trainable(model: nn.Module, trainings: dict[str, bool]) -> None:
    """Checks that a parameter can be trained, if anything trains.

    trainings: what makes a training happen, by the key that prevents it.

    Raises:
        ValueError: all parameters are frozen.
    """
    if any(parameter.requires_grad for parameter in model.parameters()):
        return
    for remedy, happens in trainings.items():
        if happens:
            raise ValueError(
                f"{type(model).__name__} is frozen whole (no parameter requires a gradient), so "
                f"nothing can be trained; set {remedy}, or unfreeze a parameter"
            )


def check_smallest_batch(
    workload: Workload, model: nn.Module, batch_size: int, accumulate: int
) -> None:
    """Checks the smallest part of a batch on every rank.

    Raises:
        ValueError: a part of a batch has one sample on some rank, which BatchNorm refuses; or
            none, with which the rank cannot take part in sync_batch_norm.
    """
    order = torch.arange(len(workload.splits.train))
    size = workload.ranks.world_size
    all_ranks = [Ranks(rank, size) for rank in range(size)]
    plans = [[*micro_batches(order, batch_size, ranks, accumulate)] for ranks in all_ranks]
    parts = [part for plan in plans for part in plan]
    # A rank without a sample gets one that does not count, or fewer parts.
    uneven = len({len(plan) for plan in plans}) > 1 or any(part.scale == 0 for part in parts)
    if workload.sync_batch_norm and uneven:
        raise ValueError(
            f"batch_size={batch_size} leaves a rank without a sample: {len(order)} samples on "
            f"{size} ranks in {accumulate} parts, but sync_batch_norm needs a "
            "sample per rank and part; change batch_size, accumulate or the size of the "
            "training data"
        )
    if min(len(part.indices) for part in parts) > 1:
        return
    try:
        with preserve_model(model):
            call_model(model.train(), first_samples(workload.sample(), 1))
    except ValueError as error:
        raise ValueError(
            f"batch_size={batch_size} leaves a batch or part of one sample of {len(order)} on "
            f"{size} ranks, but the model's BatchNorm needs two; change "
            "batch_size, accumulate or the size of the training data"
        ) from error


def check_task_sums(
    workload: Workload, model: nn.Module, distillation: Distillation | None
) -> None:
    """Checks that losses and measures are sums over samples.

    Raises:
        ValueError: the task's loss or measures, or the distillation's loss, are means; or the task
            has no scores of classes to distil.
    """
    if distillation and not getattr(workload.task, "has_class_scores", True):
        raise ValueError(
            f"distillation={type(distillation).__name__} compares probabilities of classes, which "
            f"task={type(workload.task).__name__} has not; leave distillation out"
        )
    weights, train = workload.training_context(0).sample_weights, workload.splits.train
    indices = torch.arange(len(train)) if weights is None else weights.nonzero()
    few = indices.flatten()[: FEW * TRIES]
    check_sums(_totals(workload, distillation), model, train.batches([few]))


def _totals(workload: Workload, distillation: Distillation | None) -> Totals:
    def totals(outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return dict(_named_totals(workload, distillation, outputs, labels))

    return totals


def _named_totals(
    workload: Workload, distillation: Distillation | None, outputs: Tensor, labels: Tensor
) -> Iterator[tuple[str, Tensor]]:
    task, name = workload.task, type(workload.task).__name__
    for key, value in task.measure(outputs, labels).items():
        # A task with `results` adds up several numbers under one name.
        total = value.sum() if hasattr(task, "results") else value
        yield f'measure()["{key}"] of task {name}', total
    yield f"loss() of task {name}", task.loss(outputs, labels)
    if distillation:
        none, counts = outputs.new_zeros(()), label_mask_of(task, labels)
        # The teacher's term alone.
        loss = distillation.loss(outputs, outputs.flip(-1), none, counts)
        yield f"loss() of distillation {type(distillation).__name__}", loss
