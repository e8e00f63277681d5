"""Caches stages that several runs share: the first run computes a stage, the others load it."""

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
from harness.system.atomic_files import write_atomic
from harness.system.deletion import Mark, delete_file
from harness.system.loaded_sources import adopt_if_current, undigested_sources
from harness.system.names import printable
from harness.training.folder_lock import folder_lock

# A file holds all records since level 0, so one intact file is enough.
FILE = "state.stage"


def stages_of(context: RunContext, state: RunState) -> list[LevelStage]:
    """Returns the shared stages in the run's order; none if the run's numerics are mixed."""
    return [] if state.mixed_numerics or not context.shared else list(context.shared.keys)


@contextmanager
def compute_once(recorder: Recorder, end: LevelStage) -> Iterator[None]:
    """Loads the latest cached stage up to `end` or beyond; otherwise caches what the body computes.

    Raises:
        Stopped: a signal arrived; only training since the last checkpoint is lost.
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
            _load(recorder)  # another run may have computed it while this one waited
        yield
        if state.done == end_ordinal:
            context.ranks.on_main(lambda: _store(home / FILE, context, state))


def _is_beyond(state: RunState, ordinal: int) -> bool:
    in_next_stage = state.done == ordinal and (state.training or state.pruning) is not None
    return state.done > ordinal or in_next_stage


def _store(file: Path, context: RunContext, state: RunState) -> None:
    # The file exists if this run loaded the stage. It is missing if an earlier start of the run
    # was stopped before it wrote the file.
    if not file.exists():
        write_atomic(file, packed({**checkpoint(context, state), "unnamed": undigested_sources()}))


def _load(recorder: Recorder) -> None:
    """Loads the latest cached stage, as if this run had computed it."""
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
    recorder.measure_latency()  # for the last stage only: models of earlier stages are not loaded
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
        if not adopt_if_current(state.pop("unnamed")):
            _discard(file, "was made by other code")
            continue
        with suppress(OSError):
            os.utime(home)  # time of the last use, for pruning-harness clean
        return state
    return None


def _discard(file: Path, reason: str) -> None:
    message = f"warning: stage {printable(str(file))} {printable(reason)}; computing it again"
    print(message, file=sys.stderr)
    # The folder of all stages is two levels above each entry.
    delete_file(file.parents[3], file, [Mark(re.escape(FILE))])
