"""Runs that cannot be: one line before anything is trained or written, with a way out."""

import math
import re

import pytest
from command import TINY, run_main
from conftest import CONF, component
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

pytest_plugins = ["refusals"]

# 512 samples in batches of 128: 4 steps an epoch, 2 epochs.
WRONG = {
    "gradient_dtype='null'": "gradient_dtype must be bfloat16 or null, got 'null'",
    "gradient_dtype=float16": "gradient_dtype must be bfloat16 or null, got 'float16'",
    "finetune=weight_rewind finetune.epoch=3": r"epoch 3, .*epochs 0 to 2; .*training.epochs",
    "finetune=weight_rewind finetune.step=9": r"step 9 is not in dense training, which has 2 "
    r"epochs of 4 steps, 8 in all; rewind to an earlier one or raise training.epochs",
    "finetune=weight_rewind finetune.epochs=3": r"finetune.epochs=3 .*has 2 epochs; write fewer or",
    "finetune=weight_rewind finetune.epochs=0": r"finetune.epochs must be .*\[1, .*got 0; .*=none",
    "finetune=weight_rewind finetune.step=-1": r"finetune.step .*>= 0 .*got -1; 0 is the",
    "finetune=weight_rewind finetune.step=1 finetune.epoch=1": r"at most one of epoch, step and "
    r"epochs may be given, got epoch=1 and step=1; .*leave the others null",
    "finetune=weight_rewind finetune.epoch=1.5": r"finetune.epoch must be a whole .*got 1.5",
    "finetune=weight_rewind training.epochs=0": r"epoch 1, but .*0 to 0; .*raise training.epochs",
    "finetune=lr_rewind finetune.epochs=0": r"finetune.epochs .*\[1, .*got 0; .*finetune=none",
    "finetune=lr_rewind finetune.epochs=3": r"finetune.epochs=3 .*has 2 epochs; write fewer or",
    "finetune=scratch_b finetune.limit=0.5": r"finetune.limit .*>= 1 .*got 0.5; .*null for no",
    "finetune.recipe=dense": r"finetune.recipe must be training or retraining, got 'dense'",
    "finetune.recipe=training training.epochs=0": r"finetune.recipe=training .*0 epochs; .*raise",
    "finetune=keep finetune.epochs=0": r"finetune.epochs .*\[1, .*got 0; .*finetune=none",
    "finetune=lr_rewnd": r"finetune=lr_rewnd: .*did you mean lr_rewind",
    "finetune=keep finetune.epoch=1": r"finetune.epoch: there is no such key; .*finetune.epochs",
    "prune_at=init finetune=weight_rewind finetune.step=2": (
        r"prune_at=init .*cannot rewind .*after_t"
    ),
    "schedule.unit=speedup schedule.final=9999": r"schedule: the requested speedup "
    r"cannot be reached, it leaves nothing of 1408 macs; ask for at most 1408$",
    "schedule.unit=speedup schedule.final=12 structure=row exclude=[fc2]": r"128 of 1408 .*most 11",
    "schedule.unit=speedup schedule.final=0.5": r"schedule.final .*at least 1.*got 0.5",
    "penalty=bn_l1": r"penalty=bn_l1 needs a BatchNorm .*use a model with one, .*or penalty=l1",
    "penalty=l1 penalty.epochs=0": r"penalty.epochs .*\[1, .*got 0; .*leave the penalty out",
    "penalty=l1 penalty.strength=0": r"penalty.strength must be .*above 0, got 0; e.g. 1e-4",
    "penalty=growing_l2 penalty.interval=0": r"penalty.interval .*>= 1, got 0; write 1",
    "penalty=growing_l2 penalty.max_strength=-1": r"penalty.max_strength .*above 0, got -1; e.g.",
    "penalty=l2": r"penalty=l2: there is no such penalty; there are: .*growing_l2, l1",
    "recalibration=batch_norm": r"recalibration=batch_norm needs a BatchNorm .*leave recalibration",
    "recalibration=batch_norm model.batch_norm=true recalibration.samples=1": r"recalibration"
    r".samples must be a whole number >= 2, got 1",
    "recalibration=batch_norm model.batch_norm=true recalibration.batch_size=341": r"samples=1024 "
    r"in batches of batch_size=341 leave .*one sample.*use samples=1023",
    "distillation=hinton prune_at=init": r"distillation=hinton .*dense model.*Use prune_at=after",
    "distillation=hinton finetune=none": r"distillation=hinton .*finetune=none trains nothing",
    "distillation=hinton distillation.temperature=0": r"distillation.temperature .*above 0, got 0",
    "distillation=hinton distillation.weight=2": r"distillation.weight must .*in \[0, 1\], got 2",
    "control=reinitialised finetune=none": r"control=reinitialised .*Use another finetune, or",
    "rerun=maybe": r"rerun must be one of never, changed, always, got 'maybe'",
    "progress=loud": r"progress must be one of auto.*got 'loud'",
    "gradual.interval=5": r"gradual.\* needs prune_at=during_training, got prune_at=after_training",
}  # fmt: skip


@pytest.mark.parametrize("arguments", WRONG, ids=list(WRONG))
def test_it_is_refused_in_one_line_with_status_2_and_nothing_is_written(arguments, refused) -> None:
    said = refused(*TINY, *arguments.split())
    assert re.search(WRONG[arguments], said), said


RIGHT = [
    "finetune=weight_rewind finetune.epoch=2",
    "finetune=weight_rewind finetune.step=8",
    "finetune=weight_rewind finetune.epochs=2",
    "finetune=lr_rewind finetune.epochs=2",
    "finetune=scratch_b finetune.limit=1",
    "schedule.unit=speedup schedule.final=1408",
    "penalty=l1 finetune=none",
    "recalibration=batch_norm model.batch_norm=true recalibration.samples=2",
]


@pytest.mark.parametrize("arguments", RIGHT)
def test_the_last_value_before_a_refusal_is_run(arguments, tmp_path, monkeypatch) -> None:
    assert run_main(monkeypatch, *TINY, *arguments.split(), f"output_dir={tmp_path}") == 0


@pytest.mark.parametrize("group", ["penalty", "recalibration", "distillation"])
def test_no_number_of_a_retraining_part_may_be_none_at_all(group) -> None:
    for file in (CONF / group).glob("*.yaml"):
        for key in set(OmegaConf.load(file)) - {"_target_"}:
            with pytest.raises(InstantiationException, match=f"{key} must be .*got nan"):
                component(group, file.stem, **{key: math.nan})
