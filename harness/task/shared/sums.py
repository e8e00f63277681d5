"""Checks that a loss is a sum: it doubles for every sample twice, where a mean stays."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from harness.vocabulary.given.inputs import (
    Inputs,
    call_model,
    clone_inputs,
    map_inputs,
    split_samples,
)
from harness.vocabulary.tensors import Batch, eval_mode
from harness.vocabulary.undisturbed import preserve_model

# Outputs and labels of some samples -> what has to be a sum over them, by the name to call it.
Totals = Callable[[Any, Any], Mapping[str, Tensor]]

FEW = 2
# How often other samples are used where samples are inconclusive: none of their labels may count.
TRIES = 4
# How far rounding in bfloat16 may move a mean.
TOLERANCE = 0.02


def check_sums(totals: Totals, model: nn.Module, batches: Iterable[Batch]) -> None:
    """Compares the totals of a few samples with those of the same samples twice.

    The model makes both outputs, in eval mode, so that they may be of any kind; it is left as it
    was, and nothing is drawn. Samples with a total that is NaN, or with no total but 0, decide
    nothing: others are used, and random outputs where outputs are tensors. What stays undecided
    passes: a model or loss that fails on so few samples, a total that neither doubles nor stays.

    Raises:
        ValueError: a total is a mean, or is no single number.
    """
    with preserve_model(model), eval_mode(model), torch.no_grad():
        for inputs, labels in islice(_few(batches), TRIES):
            try:
                problem = _problem(totals, model, inputs, labels)
            except Exception:  # such samples may not fit the model or the loss
                return
            if problem:
                raise ValueError(problem)
            if problem is not None:
                return


def _few(batches: Iterable[Batch]) -> Iterator[Batch]:
    for inputs, labels in batches:
        yield from zip(split_samples(inputs, FEW), labels.split(FEW), strict=True)


def _problem(totals: Totals, model: nn.Module, inputs: Inputs, labels: Tensor) -> str | None:
    """Returns what is wrong, "" if nothing is, None if these samples are inconclusive."""
    conclusive, known = set[str](), True
    for outputs, twice in _outputs(model, inputs):
        once = totals(outputs, labels.clone())
        doubled = totals(twice, _doubled(labels))
        for name, value in once.items():
            problem = _as_of_a_mean(name, value, doubled[name])
            if problem:
                return problem
        conclusive |= {name for name, value in once.items() if value}
        known = not any(bool(value.isnan()) for value in once.values())
        if len(conclusive) == len(once):
            break
    return "" if conclusive and known else None


def _outputs(model: nn.Module, inputs: Inputs) -> Iterator[tuple[Any, Any]]:
    """Yields outputs of the samples, and of the samples twice: the model's, then random ones."""
    outputs = call_model(model, clone_inputs(inputs))  # a model may write into its inputs
    yield outputs, call_model(model, map_inputs(_doubled, inputs))
    if isinstance(outputs, Tensor):
        stream = torch.Generator().manual_seed(0)
        drawn = torch.randn(outputs.shape, generator=stream).to(outputs)
        yield drawn, _doubled(drawn)


def _as_of_a_mean(name: str, once: Tensor, twice: Tensor) -> str:
    if once.numel() != 1:
        return (
            f"{name} has shape {tuple(once.shape)} and must be one number, the sum over the "
            "samples; use reduction='sum'"
        )
    first, second = float(once), float(twice)
    if first and abs(second - first) <= TOLERANCE * abs(first):
        return (
            f"{name} is {first:.6g} for some samples and {second:.6g} for the same samples twice, "
            "as of a mean; it must be the sum over the samples: use reduction='sum'"
        )
    return ""


def _doubled(value: Tensor) -> Tensor:
    return torch.cat([value, value])
