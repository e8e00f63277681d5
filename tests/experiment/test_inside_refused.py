"""Masks that change inside a training: what does not fit is one line, and nothing is written."""

import re

import pytest
from command import TINY, run_main

pytest_plugins = ["refusals"]

# Retraining has 2 epochs of 4 steps.
RUN = (*TINY, "retraining.epochs=2")
STEPS = "prune_at=during_training schedule=cubic"
EVERY = "mask_updates.update_interval=2"
WRONG = {
    f"{STEPS} gradual.first_step=4 gradual.last_step=2": (
        r"gradual.last_step must not be before first_step"
    ),
    f"{STEPS} gradual.interval=9": r"gradual.interval must be at most 8, got 9: the training has",
    f"{STEPS} gradual.interval=2 gradual.last_step=8": (
        r"gradual.last_step must be at most 7, .*got 8: "
    ),
    f"{STEPS} gradual.interval=2 gradual.first_step=7": (
        r"gradual.first_step must be at most 6, three quar"
    ),
    f"{STEPS} gradual.start_from=nonsense": (
        r"gradual.start_from must be init .*or trained.*'nonsense'"
    ),
    f"{STEPS} finetune=none": r"prune_at=during_training .* finetune=none has none",
    f"{STEPS} gradual.interval=2 penalty=l1": r"penalty=l1 trains before a pruning, but prune_",
    f"{STEPS} gradual.interval=2 finetune=weight_rewind": (
        r"prune_at=.* prunes before any training, so"
    ),
    f"{STEPS} gradual.interval=2 finetune=scratch_b": r"finetune=scratch_b has a length that",
    f"{STEPS} gradual.interval=2 gradual.start_from=trained finetune=scratch_e": (
        r"gradual.start_.*not"
    ),
    f"{STEPS} gradual.interval=2 "
    "control=reinitialised": r"control=reinitialised trains new .*reinit",
    f"{STEPS} gradual.interval=2 retraining.epochs=0": (
        r"prune_at=.* acts while .*has 0 steps\. Raise"
    ),
    "mask_updates=soft schedule=constant schedule.levels=2 retraining.epochs=0": r"dates acts .* 0",
    "gradual.interval=2": (
        r"gradual.\* needs prune_at=during_training, got prune_at=after_training\. Use"
    ),
    "schedule=ac_dc": r"schedule=ac_dc alternates inside one training; use prune_at=dur",
    f"{STEPS} schedule=ac_dc gradual.interval=2": r"even number of events.*names 3; change grad",
    f"{STEPS} schedule=ac_dc gradual.interval=3 mask_updates=soft": (
        r"schedule=ac_dc .*Leave mask_updates=soft"
    ),
    "mask_updates=rigl": r"mask_updates.update_interval=100 is longer than a training of 8 steps",
    f"mask_updates=rigl {EVERY} schedule=geometric": r"schedule=geometric only shrinks masks",
    f"{STEPS} mask_updates=rigl {EVERY}": (
        r"prune_at=during_training changes masks by schedule=cubic"
    ),
    f"mask_updates=rigl {EVERY} structure=neuron": r"mask_updates=rigl exchanges single w.*neuron",
    f"mask_updates=rigl {EVERY} "
    "finetune=none": r"mask_updates=rigl acts while .*, but finetune=none",
    f"mask_updates=rigl {EVERY} retraining.autocast=float16": r"mask_updates=rigl .*float16.*bflo",
    "mask_updates=soft": r"mask_updates=soft lets units recover until the last level, .*only; use",
    f"{STEPS} mask_updates=soft gradual.interval=2 gradual.last_step=0": (
        r"gradual.interval .*all would"
    ),
    "mask_updates=soft schedule=constant schedule.levels=2 finetune=none": r"mask_updates=soft act",
}  # fmt: skip


@pytest.mark.parametrize("arguments", WRONG)
def test_what_does_not_fit_is_refused_before_any_training_by_name(arguments, refused) -> None:
    said = refused(*RUN, *arguments.split())
    assert re.search(WRONG[arguments], said), said


@pytest.mark.parametrize(
    "arguments",
    [
        f"{STEPS} gradual.interval=2 gradual.first_step=4",
        f"mask_updates=rigl {EVERY} schedule=geometric schedule.levels=1",
        "mask_updates=soft schedule=explicit schedule.values=[0.5,0.5]",
    ],
)
def test_what_just_fits_is_not_refused(arguments, tmp_path, monkeypatch) -> None:
    overrides = (*RUN, "training.epochs=1", "schedule.final=0.25", *arguments.split())
    if "explicit" in arguments:
        overrides = tuple(o for o in overrides if not o.startswith("schedule.final"))
    assert run_main(monkeypatch, *overrides, f"output_dir={tmp_path}") == 0
