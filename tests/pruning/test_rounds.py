"""A level that is reached in several prunings, with new scores at each and no training between."""

from pathlib import Path

import pytest
import torch
from command import TINY
from conftest import cases
from silent import ME, Silent

from harness.distributed import Ranks
from harness.experiment import runner
from harness.experiment.recorder import Recorder
from harness.launch.compose import compose_config
from harness.launch.execute import build
from harness.pruning.pruner import Proposal, Pruner
from harness.schedule.base import round_fractions
from harness.vocabulary.tensors import Tensors


def prepared(tmp_path: Path, *overrides: str) -> runner.Prepared:
    return runner.prepare(
        build(compose_config([*TINY, "prune_at=init", *overrides])), Ranks(), tmp_path
    )


def masks_after(tmp_path: Path, *overrides: str) -> Tensors:
    ready = prepared(tmp_path, *overrides)
    runner.run(Recorder(*ready, ME, Silent()))
    return ready.state.masks.masks


def test_the_same_fraction_of_what_remains_goes_in_every_round() -> None:
    # 1 -> 0.001 in 3 rounds: a tenth is left of the round before.
    assert round_fractions(1.0, 0.001, 3) == pytest.approx([0.1, 0.01, 0.001])
    assert round_fractions(0.5, 0.125, 2) == pytest.approx([0.25, 0.125])
    assert round_fractions(0.7, 0.3, 1) == [0.3]
    assert round_fractions(1.0, 0.1, 100)[-1] == 0.1


@cases("rounds", 0, -1, 1.5, True, "2")
def test_a_senseless_number_of_rounds_is_refused(rounds) -> None:
    from harness.schedule.geometric import Geometric
    from harness.schedule.one_shot import OneShot

    for schedule in (Geometric, OneShot):
        with pytest.raises(ValueError, match=r"rounds must be a whole number in \[1, 10000\]"):
            schedule(rounds=rounds)  # type: ignore[arg-type]


@cases("saliency", "random", "magnitude")
def test_scores_that_do_not_change_give_the_masks_of_one_round(saliency, tmp_path) -> None:
    shared = (f"saliency={saliency}", "schedule.final=0.1")
    one, many = (masks_after(tmp_path, *shared, f"schedule.rounds={n}") for n in (1, 7))
    assert all(torch.equal(one[name], many[name]) for name in one)


def test_scores_that_change_give_others_and_as_many(tmp_path) -> None:
    shared = ("saliency=weight_gradient", "schedule.final=0.1")
    one, many = (masks_after(tmp_path, *shared, f"schedule.rounds={n}") for n in (1, 7))
    assert sum(int(m.sum()) for m in one.values()) == sum(int(m.sum()) for m in many.values())
    assert any(not torch.equal(one[name], many[name]) for name in one)


@cases(
    "overrides, goals",
    (("saliency=synflow",), 100),
    (("saliency=synflow", "schedule.rounds=4"), 4),
    (("saliency=weight_gradient",), 1),
    (("saliency=weight_gradient", "schedule=geometric", "schedule.levels=3"), 3),
    (("schedule=geometric", "schedule.levels=3", "schedule.rounds=2"), 6),
)
def test_a_level_has_the_rounds_of_its_schedule_or_else_of_its_saliency(
    overrides, goals, tmp_path, monkeypatch
) -> None:
    kept: list[int] = []
    propose = Pruner.propose

    def counting(*arguments: object, **more: object) -> Proposal:
        decision = propose(*arguments, **more)  # type: ignore[arg-type]
        kept.append(sum(int(mask.sum()) for mask in decision.masks.values()))
        return decision

    monkeypatch.setattr(Pruner, "propose", counting)
    levels = prepared(tmp_path, "finetune=none", *overrides)
    runner.run(Recorder(*levels, ME, Silent()))

    assert len(kept) == goals
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] == round(
        levels.context.kept_fractions[-1] * levels.context.requested.size_model.removable
    )
