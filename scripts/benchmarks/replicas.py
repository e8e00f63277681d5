"""Measures the cost of comparing replicas: once for ResNet-50, and in all runs of the survey."""

import hashlib
from collections.abc import Iterator

import torch
from torch import nn
from torchvision.models import resnet18, resnet50

from benchmarks.figure import Figure, Note, Side, duration, in_turns, ratio
from benchmarks.ranks_jobs import answer_of
from harness.distributed.header import hashed
from harness.model_state.fingerprints import fingerprint
from harness.vocabulary.tensors import Tensors, all_tensors

REPEATS, QUICK_REPEATS = 21, 2
AT_MOST_S = 0.3
SURVEY_ROUNDS, SURVEY_EPOCHS, QUICK_EPOCHS = 15, 12, 1
SURVEY_METHODS = ("layerwise_gradient", "global_magnitude", "snip")
AT_MOST = 1.03
NO_CUDA = "not measured: torch finds no CUDA device"


def figures(repeats: int | None, quick: bool) -> Iterator[Figure | Note]:
    """Measures fingerprints of all weights and buffers (25.6 M numbers), and a hash of these.

    The same measurement again gives the noise, and SHA-256 of the same bytes is a reference.
    """
    rounds = repeats or (QUICK_REPEATS if quick else REPEATS)
    model = (resnet18 if quick else resnet50)()
    yield from _on("CPU", model, rounds)
    if torch.cuda.is_available():
        yield from _on("CUDA", model.cuda(), rounds)
    else:
        yield Note("replicas: comparison on CUDA", NO_CUDA)
    yield from survey(repeats or (QUICK_REPEATS if quick else SURVEY_ROUNDS), quick)


def survey(rounds: int, quick: bool) -> Iterator[Figure]:
    """Compares runs of the default survey on two ranks with runs that compare less.

    The latter compare replicas inside trainings only, at the ends of epochs.
    """
    epochs = QUICK_EPOCHS if quick else SURVEY_EPOCHS
    methods = SURVEY_METHODS[: 1 if quick else None]
    wishes = {"rounds": rounds, "epochs": epochs, "methods": methods}
    seconds = answer_of("replicas_survey_program", **wishes)
    name = "replicas: survey on two ranks"
    yield ratio(f"{name} / itself (noise)", seconds, "compared again", "compared")
    yield ratio(
        f"{name} / inside trainings only", seconds, "compared", "inside only", at_most=AT_MOST
    )


def _on(device: str, model: nn.Module, rounds: int) -> Iterator[Figure]:
    tensors = all_tensors(model)
    sides = {
        "fingerprints": Side(lambda: tensors, _compared),
        "SHA-256": Side(lambda: tensors, _sha256),
        "fingerprints again": Side(lambda: tensors, _compared),
    }
    seconds = in_turns(sides, rounds)
    name = f"replicas: comparison on {device}"
    yield duration(name, seconds, "fingerprints", at_most=AT_MOST_S)
    yield ratio(f"{name} / itself (noise)", seconds, "fingerprints again", "fingerprints")
    yield ratio(f"{name} / SHA-256", seconds, "fingerprints", "SHA-256")


def _compared(tensors: Tensors) -> int:
    return hashed(fingerprint(tensors))


def _sha256(tensors: Tensors) -> list[str]:
    flat = (tensor.cpu().reshape(-1).view(torch.uint8) for tensor in tensors.values())
    return [hashlib.sha256(octets.numpy().data).hexdigest() for octets in flat]
