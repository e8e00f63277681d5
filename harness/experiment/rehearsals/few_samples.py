"""Makes of a run a small copy: two samples of each split, one rank, copies of its parts."""

import copy
import logging
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from harness.data.base import Split, for_epoch
from harness.data.calibration import Samples
from harness.data.shared.splits import PARTS
from harness.distributed import Ranks
from harness.distributed.batch_norm import has_synced_norms, use_local_batch_norm
from harness.experiment.context import RunContext
from harness.experiment.experiment import Experiment
from harness.experiment.state import RunState
from harness.experiment.workload import Workload
from harness.metrics.latency import Latency
from harness.pruning.prunable import make_mask_store
from harness.pruning.removal.living import follow_masks
from harness.system.names import printable
from harness.task.base import Task, sample_weights
from harness.vocabulary.tensors import Batch
from harness.vocabulary.undisturbed import deepcopy_model, preserve_random_streams

FEW = 2
# What the machine does, and may not do again; such an error refuses nothing.
TRANSIENT = (
    OSError,
    torch.OutOfMemoryError,
    getattr(torch, "AcceleratorError", torch.OutOfMemoryError),
)
# What to do where a rehearsal may be wrong about the run.
ANYWAY = "; rehearse=false starts the run nonetheless"
WHOLE = ("model", "data")  # read only, and may be large


class RehearsalFailed(ValueError):
    """Says in one line which part a run cannot have, and why."""


@dataclass
class Rehearsal:
    """Holds a small copy of a run.

    Args:
        context: the run's constants, made small.
        original: the model before any training; it stays as it is.
        state: with a copy of the model; its masks prune some weights once a pruning is rehearsed.
        samples: the number of training samples of the whole run.
        latency: how latency is measured, or None.
        export: names of formats that the run writes.
        left_out: what is not rehearsed, or stays empty in records, and why.
    """

    context: RunContext
    original: nn.Module
    state: RunState
    samples: int
    latency: Latency | None = None
    export: Collection[str] = ()
    left_out: list[str] = field(default_factory=list)

    def leave_out(self, key: str, reason: Exception | str) -> None:
        line = f"{key} ({line_of(reason)})"
        if line not in self.left_out:
            self.left_out.append(line)


class FewSamples:
    """Holds some samples of a split, as a split."""

    def __init__(self, split: Split, indices: Tensor):
        self.split, self.indices = split, indices
        self.inputs, self.labels = next(iter(split.batches([indices])))

    def __len__(self) -> int:
        return len(self.indices)

    def for_epoch(self, seed: int) -> "FewSamples":
        split = copy.copy(self)
        split.split = for_epoch(self.split, seed)
        return split

    def batches(self, batches: Iterable[Tensor]) -> Iterator[Batch]:
        return self.split.batches(self.indices[few.to(self.indices.device)] for few in batches)


def few_samples(context: RunContext) -> RunContext:
    """Returns the context of a run on the first samples that count of each split, on one rank."""
    workload, splits = context.workload, context.workload.splits
    few: dict[str, Any] = {name: _few(getattr(splits, name), workload.task) for name in PARTS}
    experiment = _copied(context.experiment, Samples(len(few["train"]), balanced=False))
    small: Workload = replace(
        workload,
        splits=replace(splits, **few),
        task=experiment.task,
        ranks=Ranks(device=context.ranks.device),
        sync_batch_norm=False,
    )
    requested = copy.copy(context.requested)
    requested.experiment = experiment
    return replace(
        context,
        experiment=experiment,
        workload=small,
        requested=requested,
        checkpointer=None,
        shared=None,
    )


def on_one_rank(model: nn.Module) -> nn.Module:
    """Returns the model, or a copy whose norms wait for no other rank."""
    return use_local_batch_norm(deepcopy_model(model)) if has_synced_norms(model) else model


def new_state(context: RunContext, original: nn.Module) -> RunState:
    """Returns the state of a run that begins with a copy of this model."""
    model = deepcopy_model(original)
    masks = make_mask_store(model, context.units, context.experiment.may_grow)
    follow_masks(model, context.units, masks)
    return RunState(model, masks)


@contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """Restores random streams after the context; log messages and warnings inside are dropped."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with preserve_random_streams(device), warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(level)


def line_of(error: BaseException | str) -> str:
    """Returns the error's message in one line."""
    text = printable(" ".join(str(error).split()))
    return text or type(error).__name__


def _few(split: Split, task: Task) -> FewSamples | Split:
    if not len(split):
        return split
    labels = getattr(split, "labels", None)
    counted = torch.arange(len(split))
    if isinstance(labels, Tensor):
        counts = sample_weights(task, labels).cpu().nonzero().flatten()
        counted = counts if len(counts) else counted
    return FewSamples(split, counted[:FEW])


def _copied(experiment: Any, calibration: Samples) -> Experiment:
    """Returns the experiment with copies of its parts, which may keep what they have seen."""
    memo: dict[int, Any] = {}
    parts: dict[str, Any] = {"calibration": calibration}
    for part in fields(experiment):
        if part.name not in (*WHOLE, *parts):
            with suppress(Exception):  # what cannot be copied is used as it is
                parts[part.name] = copy.deepcopy(getattr(experiment, part.name), memo)
    return replace(experiment, **parts)  # type: ignore[no-any-return]
