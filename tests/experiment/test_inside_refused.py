"""Masks that change inside a training: what does not fit is one line, and nothing is written."""

import re

import pytest
from command import TINY, run_main

pytest_plugins = ["refusals"]

# Retraining has 2 epochs of 4 steps.
RUN = (*TINY, "retraining.epochs=2")
STEPS = "when=steps schedule=cubic"
EVERY = "dynamics.every=2"
WRONG = {
    f"{STEPS} steps.begin=4 steps.end=2": r"steps.end must not be before begin, got end=2 and beg",
    f"{STEPS} steps.every=9": r"steps.every must be at most 8, got 9: the training has 8 optimizer",
    f"{STEPS} steps.every=2 steps.end=8": r"steps.end must be at most 7, .*got 8: the training has",
    f"{STEPS} steps.every=2 steps.begin=7": r"steps.begin must be at most 6, three quarters of the",
    f"{STEPS} steps.start=nonsense": r"steps.start must be init \(.*or trained.*got 'nonsense'",
    f"{STEPS} finetune=none": r"when=steps prunes inside a training, and finetune=none has none",
    f"{STEPS} steps.every=2 penalty=l1": r"penalty=l1 trains before a pruning, and when=steps",
    f"{STEPS} steps.every=2 finetune=weight_rewind": r"when=steps prunes before any training, so",
    f"{STEPS} steps.every=2 finetune=scratch_b": r"finetune=scratch_b trains the longer",
    f"{STEPS} steps.every=2 steps.start=trained finetune=scratch_e": r"steps.start=trained .*not",
    f"{STEPS} steps.every=2 control=reinitialised": r"control=reinitialised puts new .*reinit",
    f"{STEPS} steps.every=2 retraining.epochs=0": r"when=steps acts while .*0 steps here; raise",
    "dynamics=soft schedule=constant schedule.levels=2 retraining.epochs=0": r"dynamics acts .* 0",
    "steps.every=2": r"steps acts with when=steps only, and when is trained; use when=steps",
    "schedule=ac_dc": r"schedule=ac_dc alternates inside one training; use when=steps",
    f"{STEPS} schedule=ac_dc steps.every=2": r"even number of events.*names 3; change steps.end or",
    f"{STEPS} schedule=ac_dc steps.every=3 dynamics=soft": r"schedule=ac_dc .*leave out dynamics=",
    "dynamics=rigl": r"dynamics.every=100 is longer than a training of 8 steps",
    f"dynamics=rigl {EVERY} schedule=geometric": r"schedule=geometric only shrinks, from level to",
    f"{STEPS} dynamics=rigl {EVERY}": r"when=steps changes masks by schedule=cubic, and dynamics=",
    f"dynamics=rigl {EVERY} structure=neuron": r"dynamics=rigl exchanges single weights, .*neuron",
    f"dynamics=rigl {EVERY} finetune=none": r"dynamics=rigl acts while the network trains, and fin",
    f"dynamics=rigl {EVERY} retraining.autocast=float16": r"dynamics=rigl .*float16.*autocast=bflo",
    "dynamics=soft": r"dynamics=soft lets units recover until the last level, and .*one only; use",
    f"{STEPS} dynamics=soft steps.every=2 steps.end=0": r"steps.every .*all would go at once",
    "dynamics=soft schedule=constant schedule.levels=2 finetune=none": r"dynamics=soft acts while",
}  # fmt: skip


@pytest.mark.parametrize("arguments", WRONG)
def test_what_does_not_fit_is_refused_before_any_training_by_name(arguments, refused) -> None:
    said = refused(*RUN, *arguments.split())
    assert re.search(WRONG[arguments], said), said


@pytest.mark.parametrize(
    "arguments",
    [
        f"{STEPS} steps.every=2 steps.begin=4",
        f"dynamics=rigl {EVERY} schedule=geometric schedule.levels=1",
        "dynamics=soft schedule=explicit schedule.values=[0.5,0.5]",
    ],
)
def test_what_just_fits_is_not_refused(arguments, tmp_path, monkeypatch) -> None:
    overrides = (*RUN, "training.epochs=1", "schedule.final=0.25", *arguments.split())
    if "explicit" in arguments:
        overrides = tuple(o for o in overrides if not o.startswith("schedule.final"))
    assert run_main(monkeypatch, *overrides, f"runs={tmp_path}") == 0
