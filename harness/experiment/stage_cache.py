"""Stages that runs have in common: whoever comes to one first computes it, the others load it."""

import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness.experiment.latency import note_latency
from harness.experiment.saving import save_stage, standing, take_up
from harness.run_folder.checkpoints import State, packed, unpacked
from harness.run_folder.records import place
from harness.run_folder.stage_keys import Place
from harness.system.atomic_files import write_whole
from harness.system.deletion import Mark, delete_file
from harness.system.loaded_sources import admitted, unnamed
from harness.system.names import visible
from harness.training.folder_lock import turn

if TYPE_CHECKING:
    from harness.experiment.runner import Levels

# A file holds all that was found since level 0: one that is whole needs no other.
FILE = "state.stage"


def stages_of(levels: "Levels") -> list[Place]:
    """Those in common, in the run's order; none of a run that is not what its numerics say."""
    return [] if levels.mixed or not levels.shared else list(levels.shared.keys)


def come_to(levels: "Levels", end: Place) -> None:
    """Brings the run to the end of a stage, or further: as far as others have come already.

    Raises:
        Stopped: a signal asked for it; nothing is lost but what was trained since the last save.
    """
    assert levels.shared is not None
    at, home = place(*end), levels.shared.home(end)
    if _is_beyond(levels, at):
        return
    _load(levels)
    if _is_beyond(levels, at):
        return
    with turn(home, levels.ranks, levels.journal):
        if levels.passed < at:
            _load(levels)  # what others have made while this one waited
        if levels.passed < at:
            levels.go_on(end)
        if levels.passed == at:
            levels.ranks.on_main(lambda: _keep(home / FILE, levels))


def _is_beyond(levels: "Levels", at: int) -> bool:
    inside_the_next = levels.passed == at and levels.training is not None
    return levels.passed > at or inside_the_next


def _keep(file: Path, levels: "Levels") -> None:
    # It is there where this run loaded it, and not where it was stopped before it came to this.
    if not file.exists():
        write_whole(file, packed({**standing(levels), "unnamed": unnamed()}))


def _load(levels: "Levels") -> None:
    """The furthest stage that is there, as if this run had come to it by itself."""
    ahead = [one for one in stages_of(levels) if levels.passed < place(*one)]
    homes = [levels.shared.home(one) for one in reversed(ahead)] if levels.shared else []
    state = levels.ranks.on_main(lambda: _first_whole(homes))
    if state is None:
        return
    before = len(levels.past)
    take_up(levels, state)
    for found in levels.past[before:]:
        record = found["record"]
        if record["level"]:  # dense training shows itself only to the run that trains it
            levels.watcher.found(record["level"], record["epoch_losses"], record["epoch_top1"])
        levels.show(found)
    note_latency(levels)  # of the last of them: of the others there is no network here
    save_stage(levels)


def _first_whole(homes: Iterable[Path]) -> State | None:
    for home in homes:
        file = home / FILE
        try:
            state = unpacked(file.read_bytes())
        except FileNotFoundError:
            continue
        except (ValueError, OSError) as error:
            _discard(file, f"is damaged: {error}")
            continue
        if not admitted(state.pop("unnamed")):
            _discard(file, "was made by other code")
            continue
        with suppress(OSError):
            os.utime(home)  # when it was used last, for harness.clean
        return state
    return None


def _discard(file: Path, why: str) -> None:
    said = f"stage {visible(str(file))} {visible(why)}; computing it again"
    print(said, file=sys.stderr)
    # Two levels above each entry lies the folder of all stages, in that of all runs.
    delete_file(file.parents[3], file, [Mark(re.escape(FILE))])
