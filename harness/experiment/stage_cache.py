"""Stages that runs have in common: whoever comes to one first computes it, the others load it."""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.experiment.context import RunContext
from harness.experiment.recorder import Recorder
from harness.experiment.state import RunState, checkpoint
from harness.run_folder.checkpoints import State, packed, unpacked
from harness.run_folder.records import stage_index
from harness.run_folder.stage_keys import LevelStage
from harness.system.atomic_files import write_whole
from harness.system.deletion import Mark, delete_file
from harness.system.loaded_sources import admitted, unnamed
from harness.system.names import visible
from harness.training.folder_lock import folder_lock

# A file holds all that was found since level 0: one that is whole needs no other.
FILE = "state.stage"


def stages_of(context: RunContext, state: RunState) -> list[LevelStage]:
    """Those in common, in the run's order; none of a run that is not what its numerics say."""
    return [] if state.mixed_numerics or not context.shared else list(context.shared.keys)


@contextmanager
def compute_once(recorder: Recorder, end: LevelStage) -> Iterator[None]:
    """Around the stages up to `end`: after entering, the run stands where others have come already,
    perhaps beyond it. What the body computes is then there for them.

    Raises:
        Stopped: a signal asked for it; nothing is lost but what was trained since the last save.
    """
    context, state = recorder.context, recorder.state
    assert context.shared is not None
    end_ordinal, home = stage_index(*end), context.shared.home(end)
    if not _is_beyond(state, end_ordinal):
        _load(recorder)
    if _is_beyond(state, end_ordinal):
        yield
        return
    with folder_lock(home, context.ranks, context.checkpointer):
        if state.done < end_ordinal:
            _load(recorder)  # what others have made while this one waited
        yield
        if state.done == end_ordinal:
            context.ranks.on_main(lambda: _store(home / FILE, context, state))


def _is_beyond(state: RunState, ordinal: int) -> bool:
    in_next_stage = state.done == ordinal and (state.training or state.pruning) is not None
    return state.done > ordinal or in_next_stage


def _store(file: Path, context: RunContext, state: RunState) -> None:
    # It is there where this run loaded it, and not where it was stopped before it came to this.
    if not file.exists():
        write_whole(file, packed({**checkpoint(context, state), "unnamed": unnamed()}))


def _load(recorder: Recorder) -> None:
    """The furthest stage that is there, as if this run had come to it by itself."""
    context, state = recorder.context, recorder.state
    ahead = [stage for stage in stages_of(context, state) if state.done < stage_index(*stage)]
    homes = [context.shared.home(stage) for stage in reversed(ahead)] if context.shared else []
    cached = context.ranks.on_main(lambda: _first_intact(homes))
    if cached is None:
        return
    count = len(state.found_records)
    state.load_state_dict(cached, context)
    for stage in state.found_records[count:]:
        recorder.replay(stage)
    recorder.measure_latency()  # of the last of them: of the others there is no network here
    recorder.save()


def _first_intact(homes: Iterable[Path]) -> State | None:
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
            os.utime(home)  # when it was used last, for pruning-harness clean
        return state
    return None


def _discard(file: Path, reason: str) -> None:
    message = f"stage {visible(str(file))} {visible(reason)}; computing it again"
    print(message, file=sys.stderr)
    # Two levels above each entry lies the folder of all stages, in that of all runs.
    delete_file(file.parents[3], file, [Mark(re.escape(FILE))])
