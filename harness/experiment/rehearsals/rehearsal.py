"""Rehearses on two samples what a run will do to its model, before the run trains."""

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from harness.delivery.formats import write_formats
from harness.delivery.runtimes import OnnxFiles, make_ready
from harness.experiment import prune_stage
from harness.experiment.context import RunContext
from harness.experiment.rehearsals.few_samples import (
    ANYWAY,
    TRANSIENT,
    Rehearsal,
    RehearsalFailed,
    few_samples,
    line_of,
    new_state,
    on_one_rank,
    undisturbed,
)
from harness.experiment.rehearsals.smaller import every_other_unit, remove_half
from harness.experiment.rehearsals.trials import trials
from harness.experiment.results.model_files import model_files
from harness.experiment.state import measure
from harness.metrics.latency import Latency
from harness.pruning.reader import ModelChanged
from harness.run_folder.export import load_exported, to_bytes
from harness.system.errors import NotFinite
from harness.vocabulary.undisturbed import deepcopy_model

Act = Callable[[], None]

HALF = 0.5  # kept fraction of the rehearsed pruning
# What other samples, or trained weights, may do without.
SAMPLES_DECIDE = (ValueError, NotFinite, LinAlgError)


def rehearse(
    context: RunContext,
    model: nn.Module,
    latency: Latency | None,
    export: Collection[str] = (),
    keys: Collection[str] = (),
) -> None:
    """Prunes, trains, measures and exports a copy of the model, with two samples of each split.

    Model, data, the run's parts and random streams stay as they are. Every rank rehearses alone,
    on the same samples; all ranks raise the same error. Not rehearsed are: what all samples or
    trained weights bring about, the memory of whole batches, what several ranks do together,
    updates of masks after the first one, and samples of other shapes than the first two of each
    split.

    Logs what else is not rehearsed, or stays empty in records, and why.

    export: names of formats. keys: rehearses these acts only, such as "saliency"; () all.

    Raises:
        ValueError: an act fails, or an optimizer moves pruned weights.
    """
    left_out, refused, key = list[str](), "", "experiment"
    with undisturbed(context.ranks.device):
        try:
            rehearsal = _begin(context, model, latency, export, left_out)
            for key, act in _acts(rehearsal) if rehearsal else ():
                if not keys or key in keys:
                    with _leaving_out(key, left_out):
                        act()
        except Exception as error:  # raised below, as the other ranks would wait
            refused = _refusal(context, key, error)
    for reason in filter(None, context.ranks.all_gather_object(refused)):
        raise ValueError(reason)
    if left_out:
        logging.getLogger(__name__).info("not rehearsed: %s", "; ".join(left_out))


@contextmanager
def _leaving_out(key: str, left_out: list[str]) -> Iterator[None]:
    """Notes the act as not rehearsed where what fails may not fail again."""
    try:
        yield
    except TRANSIENT as error:
        left_out.append(f"{key} ({line_of(error)})")


def _begin(
    context: RunContext,
    model: nn.Module,
    latency: Latency | None,
    export: Collection[str],
    left_out: list[str],
) -> Rehearsal | None:
    try:
        small, original = few_samples(context), on_one_rank(model)
        state = new_state(small, original)
        return Rehearsal(small, original, state, context.samples, latency, export, left_out)
    except (ValueError, *TRANSIENT) as error:
        left_out.append(f"everything ({line_of(error)})")
        return None


def _acts(rehearsal: Rehearsal) -> Iterator[tuple[str, Act]]:
    """Yields the acts in the order of a run, each with the key of the part that it is about."""
    yield "compact", partial(remove_half, rehearsal)
    yield "saliency", partial(_prune, rehearsal)
    yield "recalibration", partial(_recalibrate, rehearsal)
    for trial in trials(rehearsal):
        yield trial.key, partial(trial.take_steps, rehearsal)
    yield "task", partial(_measure, rehearsal)
    yield "latency", partial(_time, rehearsal)
    yield "model", partial(_export, rehearsal)
    yield "export", partial(_write_formats, rehearsal)


def _refusal(context: RunContext, key: str, error: Exception) -> str:
    if isinstance(error, RehearsalFailed):
        return line_of(error)
    part = getattr(context.experiment, key.partition(".")[0], None)
    subject = key if part is None else f"{key}={type(part).__name__}"
    return (
        f"{subject} fails on two samples, before any training: {type(error).__name__}: "
        f"{line_of(error)}{'' if isinstance(error, ModelChanged) else ANYWAY}"
    )


def _prune(rehearsal: Rehearsal) -> None:
    """Prunes to half, or near to it what a level of the run asks for, by the run's own parts."""
    context = rehearsal.context
    of_levels = sorted((f for f in context.kept_fractions if f < 1), key=lambda f: abs(f - HALF))
    reason: Exception | None = None
    for kept_fraction in (HALF, *of_levels[:1]):
        state = new_state(context, rehearsal.original)
        try:
            prune_stage.prune(context, state, 1, kept_fraction, lambda: None)
        except ModelChanged:
            raise
        except SAMPLES_DECIDE as error:
            reason = reason or error
            continue
        if not all(bool(mask.all()) for mask in state.masks.masks.values()):
            rehearsal.state = state
            return
    if reason:
        rehearsal.leave_out("saliency", reason)
    rehearsal.state.masks.shrink_to(every_other_unit(context.units, rehearsal.state.model))
    rehearsal.state.masks.apply_to(rehearsal.state.model)


def _recalibrate(rehearsal: Rehearsal) -> None:
    context, part = rehearsal.context, rehearsal.context.experiment.recalibration
    if part is None:
        return
    batches = context.workload.inputs(part.samples, part.batch_size, "recalibration")
    try:
        part.apply(deepcopy_model(rehearsal.state.model), batches)
    except SAMPLES_DECIDE as error:
        rehearsal.leave_out("recalibration", error)


def _measure(rehearsal: Rehearsal) -> None:
    context, state = rehearsal.context, rehearsal.state
    measured, _ = measure(context, state)
    unknown = measured["effective_density_unknown"]
    if unknown:
        rehearsal.left_out.append(f"effective_density stays empty: {unknown}")


def _time(rehearsal: Rehearsal) -> None:
    """Runs the forward passes that are timed; where one fails, the run continues without it."""
    latency, workload = rehearsal.latency, rehearsal.context.workload
    if latency is None:
        return
    dtypes = [getattr(torch, name) for name in latency.dtypes]
    for size, dtype in product(latency.batch_sizes, dtypes or [workload.dtype]):
        try:
            inputs = workload.batch_of(size)
            with torch.no_grad():
                make_ready("eager", rehearsal.state.model, inputs, dtype, 1, OnnxFiles())
        except Exception as error:
            rehearsal.leave_out("latency", error)


def _export(rehearsal: Rehearsal) -> None:
    """Checks that the pruned model can be written, and loaded into a dense one."""
    exported = model_files(rehearsal.context, rehearsal.state, {}).exported
    to_bytes(exported)
    load_exported(deepcopy_model(rehearsal.original), exported)


def _write_formats(rehearsal: Rehearsal) -> None:
    """Writes and runs the files of the pruned model, in a folder that goes."""
    if not rehearsal.export:
        return
    sample = rehearsal.context.workload.sample()
    with TemporaryDirectory() as folder:
        try:
            write_formats(rehearsal.state.model, sample, Path(folder), rehearsal.export)
        except ValueError as error:
            raise RehearsalFailed(str(error)) from error
