"""Checks that methods at initialisation score the initial model.

Trained weights are scored only with rescore_trained=true.
"""

import pytest
from conftest import CONF, cases
from hydra import compose, initialize_config_dir

from harness.launch.compose import compose_config
from harness.launch.execute import build
from harness.launch.run_spec import build_run_spec
from harness.run_folder.identity import hashed_config_of

LEVELS = ("method=snip", "schedule.levels=3")
GIVEN = "weights=dense.pt"
LEAVE = "rescore_trained=true"


@cases(
    "overrides, said",
    ((), "schedule=geometric schedule.levels=3 with finetune=keep scores trained weights"),
    (("finetune=lr_rewind",), "schedule.levels=3 with finetune=lr_rewind"),
    (("finetune=rewind_to_init",), "with finetune=rewind_to_init"),
    (("finetune=reinit",), "with finetune=reinit"),
    (("finetune=none", "penalty=l1"), "penalty=l1 trains it before the first pruning"),
    (
        ("schedule=one_shot", "penalty=l1"),
        "Leave the penalty out, use prune_at=after_training, or resc",
    ),
    (("schedule=one_shot", "finetune=none", "penalty=growing_l2"), "penalty=growing_l2 trains"),
    (("method=iterative_snip",), "schedule.rounds=N"),
    (("schedule=one_shot", GIVEN), "weights=dense.pt replaces it by one that may be trained"),
    (("schedule=one_shot", "finetune=none", "saliency=random", GIVEN), "Leave the weights out"),
    (("schedule=constant", "schedule.levels=3", "mask_updates=soft", "structure=row"), "rescore"),
)
def test_levels_of_training_at_initialisation_are_refused_unless_they_are_asked_for(
    overrides, said
) -> None:
    asked = (*LEVELS, *overrides)
    if "schedule=one_shot" in overrides:
        asked = ("method=snip", *overrides)
    if any(text.startswith(("structure", "saliency")) for text in overrides):
        asked = ("prune_at=init", *overrides)
    with pytest.raises(Exception, match=rf"prune_at=init scores the initial model.*{said}"):
        build(compose_config(asked))
    assert build(compose_config((*asked, LEAVE))).rescore_trained


@cases(
    "overrides",
    ("method=snip", "schedule=one_shot"),
    ("method=snip", "schedule=one_shot", "schedule.rounds=5", "finetune=lr_rewind"),
    ("method=iterative_snip", "schedule.levels=1"),
    (*LEVELS, "finetune=none"),
    (*LEVELS, "retraining.epochs=0"),
    ("method=rigl", "schedule=constant", "schedule.levels=3"),  # prunes at level 1 only
)
def test_rounds_and_levels_without_training_are_no_second_score_of_trained_weights(overrides):
    build(compose_config(overrides))
    with pytest.raises(Exception, match="rescore_trained=true, but nothing is scored after"):
        build(compose_config((*overrides, LEAVE)))


def test_the_leave_counts_for_nothing_where_none_is_needed() -> None:
    trained = ("schedule.levels=3", "finetune=lr_rewind")
    build(compose_config((*trained, LEAVE)))
    build(compose_config(("prune_at=during_training", LEAVE)))
    with pytest.raises(Exception, match="rescore_trained must be true or false, got 1"):
        build(compose_config((*LEVELS, "rescore_trained=1")))


@cases(
    "overrides, label",
    ((*LEVELS, LEAVE), "SNIP (re-scored while training)"),
    ((*LEVELS, LEAVE, "finetune=lr_rewind"), "SNIP (lr_rewind) (re-scored while training)"),
    (("method=snip", "schedule=one_shot"), "SNIP"),
    (
        ("method=snip", "schedule=one_shot", "penalty=l1", LEAVE),
        "SNIP (keep, l1) (re-scored while training)",
    ),
    (("schedule.levels=3", LEAVE), "Global Magnitude"),
    (("method=snip", "schedule=one_shot", GIVEN, LEAVE), "SNIP (scores given weights)"),
    (("schedule.levels=3", GIVEN, LEAVE), "Global Magnitude"),
)
def test_the_label_says_that_trained_weights_are_scored(overrides, label) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", list(overrides), return_hydra_config=True)
    assert build_run_spec(cfg, cfg.hydra).label == label


def test_the_leave_names_only_runs_that_need_it() -> None:
    init, trained = {"prune_at": "init"}, {"prune_at": "after_training"}
    assert hashed_config_of({**trained, "rescore_trained": True}) == hashed_config_of(trained)
    assert hashed_config_of({**init, "rescore_trained": True}) != hashed_config_of(init)
