"""Measures the cost of several ranks, and their behaviour under kills and flipped bits."""

import random
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain

import torch

from benchmarks import flip_trials, ranks_kills
from benchmarks.figure import Figure, Note, Seconds, ratio, spread
from benchmarks.hosts import Host, two_hosts
from benchmarks.ranks_jobs import answer_of

RATE = "100mbit"
EVENTS = ("first", "later")  # of a dense model, of a pruned one
EVENT_ROUNDS, QUICK_EVENT_ROUNDS = 11, 2
STEP_ROUNDS, STEP_EPOCHS, QUICK_STEP_EPOCHS = 81, 2, 1
# Unpruned entries against all entries, on the slow link and on the loopback.
LINK_SIDES = ["sparse", "dense", "sparse, all live", "dense, all live"]
SLOW = {"rounds": 7, "steps": 2}
FAST = {"rounds": 31, "steps": 4}
HIDDEN, QUICK_HIDDEN = [3000, 3000], [300, 300]
REST_S = 1.0
NO_CUDA = "not measured: torch finds no CUDA device"

Rows = Iterator[Figure | Note]


def figures(repeats: int | None, quick: bool) -> Rows:
    """Measures agreement on masks, steps and gradient exchange; then kills and flips.

    Raises:
        JobFailed: a job ended with an error that is not part of the test.
    """
    seed = random.SystemRandom().randrange(10**6)
    yield from agreement(repeats, quick)
    yield from agreement_on_cuda(repeats, quick)
    yield from steps(repeats, quick)
    yield from slow_link(repeats, quick)
    yield from loopback(repeats, quick)
    yield from ranks_kills.figures(quick, seed)
    yield from flip_trials.figures(quick, seed)


def agreement(repeats: int | None, quick: bool) -> Rows:
    """Measures the bytes that a rank receives in a pruning event, and their time, on two ranks."""
    rounds = repeats or (QUICK_EVENT_ROUNDS if quick else EVENT_ROUNDS)
    answer = answer_of("ranks_event_program", rounds=rounds)
    yield spread("agreement: received in collectives", "MB", _all(answer, "bytes"), at_most=3.2)
    yield from _received_on_the_wire(rounds)
    for event in EVENTS:
        times = [1000 * event["seconds"] for event in answer[event]]
        yield spread(f"agreement: {event} event", "ms", times, at_most=250.0)


def _received_on_the_wire(rounds: int) -> Rows:
    name = "agreement: received at the interface"
    if _no_hosts():
        yield Note(name, _no_hosts())
        return
    with two_hosts() as hosts:
        answer = answer_of("ranks_event_program", hosts, rounds=rounds)
    yield spread(name, "MB", _all(answer, "interface"))


def _all(answer: dict[str, list[dict[str, float]]], key: str) -> list[float]:
    """Returns the numbers of all events, in millions."""
    return [event[key] / 1e6 for event in chain.from_iterable(answer.values())]


def agreement_on_cuda(repeats: int | None, quick: bool) -> Rows:
    """Measures the same on CUDA, relative to a training step with a batch of 32."""
    if not torch.cuda.is_available():
        yield Note("agreement on CUDA: first event / step", NO_CUDA)
        return
    # nccl refuses two ranks on one device.
    options = {"backend": "auto" if torch.cuda.device_count() > 1 else "gloo"}
    rounds = repeats or (QUICK_EVENT_ROUNDS if quick else EVENT_ROUNDS)
    answer = answer_of("ranks_event_program", rounds=rounds, device="cuda", options=options)
    seconds: Seconds = {side: [event["seconds"] for event in answer[side]] for side in answer}
    for event in EVENTS:
        yield ratio(f"agreement on CUDA: {event} event / step", seconds, event, "step", at_most=2.0)


def steps(repeats: int | None, quick: bool) -> Rows:
    """Steps with masks over steps without, on two ranks."""
    answer = answer_of(
        "ranks_step_program",
        rounds=repeats or STEP_ROUNDS,
        epochs=QUICK_STEP_EPOCHS if quick else STEP_EPOCHS,
    )
    for optimizer, seconds in answer.items():
        name = f"ranks: masked / dense step, {optimizer}"
        yield ratio(name, seconds, "masked", "dense", at_most=1.03)
        yield ratio(f"ranks: dense / dense (noise), {optimizer}", seconds, "dense again", "dense")


def slow_link(repeats: int | None, quick: bool) -> Rows:
    """Measures gradient exchanges on a cable of 100 Mbit/s between two namespaces."""
    if _no_hosts():
        yield Note(f"link: {RATE}", _no_hosts())
        return
    with two_hosts(RATE) as hosts:
        answer = _exchanged(SLOW, repeats, quick, hosts=hosts)
    yield from _exchanges(RATE, answer, {"at_most": 0.15})


def loopback(repeats: int | None, quick: bool) -> Rows:
    yield from _exchanges("loopback", _exchanged(FAST, repeats, quick), {})


def _exchanged(
    much: dict[str, int], repeats: int | None, quick: bool, hosts: Sequence[Host] = ()
) -> Seconds:
    answer: Seconds = answer_of(
        "ranks_link_program",
        hosts,
        sides=LINK_SIDES,
        rounds=repeats or much["rounds"],
        steps=1 if quick else much["steps"],
        hidden=QUICK_HIDDEN if quick else HIDDEN,
        rest_s=0.0 if quick else REST_S,
    )
    return answer


def _exchanges(link: str, seconds: Seconds, target: dict[str, float]) -> Rows:
    yield ratio(f"link: {link}, 10% live, sparse / dense", seconds, "sparse", "dense", **target)
    sides = "sparse, all live", "dense, all live"
    yield ratio(f"link: {link}, all live, sparse / dense", seconds, *sides)


@cache
def _no_hosts() -> str:
    """Returns the reason why two hosts cannot be simulated here, or ""."""
    try:
        with two_hosts(RATE):
            return ""
    except OSError as error:
        return f"not measured: needs iproute2 ({error.strerror}: {error.filename})"
    except subprocess.CalledProcessError as error:
        why = " ".join(error.stderr.decode(errors="replace").split())
        return f"not measured: needs root and network namespaces ({why})"
