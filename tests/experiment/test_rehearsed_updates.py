"""The rehearsal updates masks once, as the run's own training does at first."""

import logging
from typing import Any

import pytest
from conftest import cases
from rehearsing import fails, rehearse

from harness.experiment.rehearsals import first_update, rehearsal
from harness.mask_updates.drop_grow import DropGrow
from harness.mask_updates.rigl import Rigl
from harness.vocabulary.tensors import Tensors

LONG = "retraining.epochs=4"  # 16 steps


class Own(Rigl):
    """Grows what a test says; or never updates."""

    def __init__(self, act: Any, interval: int = 3) -> None:
        super().__init__(update_interval=interval)
        object.__setattr__(self, "act", act)

    def check(self, steps: int) -> None:
        pass

    def growth_scores(self, *arguments: Any) -> Any:
        self.act()  # type: ignore[attr-defined]
        return super().growth_scores(*arguments)


def left_out(caplog: pytest.LogCaptureFixture) -> list[str]:
    records = [r for r in caplog.records if r.name == rehearsal.__name__]
    return [record.getMessage().removeprefix("not rehearsed: ") for record in records]


@pytest.mark.parametrize("kind", ["rigl", "set", "snfs"])
def test_masks_are_updated_once_as_at_the_first_update_of_the_run(
    kind, monkeypatch, caplog
) -> None:
    calls, update = list[tuple[int, int, bool]](), DropGrow.update_masks

    def noted(
        self: DropGrow, weights: Tensors, masks: Tensors, statistics: Tensors, *at: int
    ) -> Tensors:
        after = update(self, weights, masks, statistics, *at)
        changed = any((after[name] != masks[name]).any() for name in weights)
        calls.append((at[0], at[1], changed))
        return after

    monkeypatch.setattr(DropGrow, "update_masks", noted)
    caplog.set_level(logging.INFO)
    rehearse(f"mask_updates={kind}", "mask_updates.update_interval=3", LONG)
    assert calls == [(3, 16, True)] and not left_out(caplog)


def test_an_update_that_would_fail_in_the_training_is_refused() -> None:
    reason = "^mask_updates=Own fails at steps of two samples: KeyError: 'x'; rehearse=false"
    with pytest.raises(ValueError, match=reason):
        rehearse(LONG, mask_updates=Own(fails(KeyError("x"))))


@cases(
    "updater, reason",
    (Own(fails(ValueError("too few"))), "mask_updates=Own (fc1.weight: too few, so its mask"),
    (Own(print, interval=17), "mask_updates=Own (no update in the first 16 steps)"),
)
def test_what_trained_weights_or_more_steps_decide_is_left_out(updater, reason, caplog) -> None:
    caplog.set_level(logging.INFO)
    rehearse(LONG, mask_updates=updater)
    (line,) = left_out(caplog)
    assert line.startswith(reason)


def test_the_first_update_is_not_looked_for_forever() -> None:
    with pytest.raises(ValueError, match="no update in the first 100000 steps"):
        first_update.FirstUpdate.of(Own(print, interval=10**6), 10**12)


def test_gradients_are_those_of_the_steps_up_to_the_first_update() -> None:
    asked: list[tuple[int, int]] = []

    class Asked(Rigl):
        def needs_dense_gradients(self, step: int, steps: int) -> bool:
            asked.append((step, steps))
            return True

    for first, needed in ((0, [False, True, False]), (3, [True, True, False])):
        update = first_update.FirstUpdate(Asked(), first, 16)
        assert [update.needs_dense_gradients(step, 3) for step in range(3)] == needed
    assert asked == [(0, 16), (2, 16), (3, 16)]


def test_the_scaler_of_float16_is_left_out(caplog) -> None:
    caplog.set_level(logging.INFO)
    rehearse("retraining.autocast=float16", "penalty=l1", "rescore_trained=true")
    assert left_out(caplog) == ["retraining.autocast=float16 (its scaler may skip steps)"]
