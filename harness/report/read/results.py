"""Which record is the result of a run at a level; one row per method, compression and seed."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

LINE = ["model", "data", "label", "setting"]
POINT = [*LINE, "requested"]
# Stages that may be the last one of a level, from first to last.
STAGES = ("pruned", "recalibrated", "finetuned")


@dataclass(frozen=True)
class Selection:
    """Rows that still count, and why the others do not; each step drops some with a note."""

    rows: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    def without(self, gone: "pd.Series[bool]", why: str) -> "Selection":
        if not gone.any():
            return self
        note = f"{gone.sum()} left out, {why}: {name_some(self.rows.loc[gone, 'folder'])}"
        return Selection(self.rows[~gone], [*self.notes, note])


def name_some(folders: Iterable[str]) -> str:
    """The first three by name and how many more.

    >>> name_some(["b", "a", "d", "c", "a"])
    'a, b, c and 1 more'
    """
    names = sorted(set(folders))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def pruned_results(records: pd.DataFrame, unfinished: Collection[str] = ()) -> Selection:
    """The last stage of each run and level, once per POINT and seed.

    Levels that are on the way are no results: masks that shrink inside one training, or soft
    pruning, are one treatment, whose last level is its result.

    Adds: requested (target compression, four digits), pruned_top1 (right after pruning), failed and
    pruned_failed (accuracy or loss is not finite). The label of a method with several settings gets
    the start of its setting appended.

    unfinished: folders of runs that may go on; what they have reached right after pruning or
    recalibration at their last level is no result yet.
    """
    selection = Selection(_with_failures(_last_stages(records)))
    selection = selection.without(
        _on_its_way(selection.rows, unfinished), "their run has not finished that level"
    )
    for stage, done in (("finetuned", "fine-tuned"), ("recalibrated", "recalibrated")):
        selection = selection.without(_unfinished(selection.rows, stage), f"not yet {done}")
    selection = selection.without(
        _passed(selection.rows), "a run with more levels reached the same compression"
    )
    # Which twin is kept does not depend on the disk.
    ordered = selection.rows.sort_values("folder")
    selection = _without_twins(Selection(ordered, selection.notes))
    rows, notes = _with_distinct_labels(selection.rows)
    return Selection(rows, [*selection.notes, *notes])


def _without_twins(selection: Selection) -> Selection:
    rows = selection.rows
    twin = rows.duplicated([*POINT, "seed"])
    # One setting and seed decide a result on one machine: another result is no mere copy.
    differs = twin & ~rows.duplicated([*POINT, "seed", "top1", "loss"])
    why = "duplicates of the same setting, seed and compression"
    copies = selection.without(twin & ~differs, why)
    return copies.without(differs[copies.rows.index], f"{why} that have other results")


def written_last(records: pd.DataFrame) -> pd.DataFrame:
    """Without what the same run wrote anew."""
    return records.drop_duplicates(["folder", "level", "stage"], keep="last", ignore_index=True)


def candidates(records: pd.DataFrame) -> pd.DataFrame:
    """Records of pruned networks that may be results."""
    pruned = (records["level"] > 0) & records["stage"].isin(STAGES)
    return records[pruned & ~records["is_intermediate"]]


def _last_stages(records: pd.DataFrame) -> pd.DataFrame:
    reached = records.groupby("folder")["level"].max()
    later = candidates(records)
    later = later.assign(
        rank=later["stage"].map(STAGES.index), reached=later["folder"].map(reached)
    )
    last = later.sort_values("rank").drop_duplicates(["folder", "level"], keep="last")
    right_after = later[later["stage"] == "pruned"].rename(
        columns={"top1": "pruned_top1", "loss": "pruned_loss"}
    )[["folder", "level", "pruned_top1", "pruned_loss"]]
    rows = last.merge(right_after, how="left", on=["folder", "level"], indicator="has_pruned")
    return rows.assign(
        requested=[float(f"{requested:.4g}") for requested in rows["target_compression"]]
    )


def _with_failures(rows: pd.DataFrame) -> pd.DataFrame:
    # A network whose outputs are NaN still "hits" the class that argmax falls back to.
    failed = _not_finite(rows, "top1", "loss")
    pruned_failed = _not_finite(rows, "pruned_top1", "pruned_loss")
    return rows.assign(
        failed=failed,
        top1=rows["top1"].mask(failed),
        top5=rows["top5"].mask(failed),
        pruned_failed=pruned_failed & (rows["has_pruned"] == "both"),
        pruned_top1=rows["pruned_top1"].mask(pruned_failed),
    )


def _on_its_way(rows: pd.DataFrame, unfinished: Collection[str]) -> "pd.Series[bool]":
    goes_on = rows["folder"].isin(unfinished) & (rows["level"] == rows["reached"])
    return goes_on & (rows["stage"] != STAGES[-1])


def _not_finite(rows: pd.DataFrame, *columns: str) -> "pd.Series[bool]":
    return ~rows[list(columns)].astype(float).apply(np.isfinite).all(axis=1)


def _unfinished(rows: pd.DataFrame, stage: str) -> "pd.Series[bool]":
    # Where others of the line are fine-tuned, accuracy right after pruning is not a result; but
    # a level that the run went on from was left without fine-tuning on purpose.
    done = (rows["rank"] >= STAGES.index(stage)).rename("done")
    point_has = done.groupby([rows[key] for key in POINT]).transform("any")
    line_has = done.groupby([rows[key] for key in LINE]).transform("any")
    return ~done & (point_has | (line_has & (rows["level"] == rows["reached"])))


def _passed(rows: pd.DataFrame) -> "pd.Series[bool]":
    # 4x as level 2 of a longer run and as the last of 4 levels are two treatments: one counts.
    return rows["level"] < rows.groupby(POINT)["level"].transform("max")


def _with_distinct_labels(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Labels that name one setting each; the notes say which run shows what a setting is."""
    notes, labels = [], rows["label"].copy()
    for (model, data, label), same in rows.groupby(["model", "data", "label"]):
        settings = sorted(set(same["setting"]))
        if len(settings) > 1:
            digits = _digits_that_differ(settings)
            labels[same.index] = [f"{label} [{setting[:digits]}]" for setting in same["setting"]]
            firsts = same.groupby("setting")["folder"].min()
            shown = ", ".join(f"[{key[:digits]}] as in {firsts[key]}" for key in settings)
            notes.append(f"{label} on {model}, {data} ran with several settings: {shown}")
    return rows.assign(label=labels), notes


def _digits_that_differ(settings: list[str]) -> int:
    longest = max(map(len, settings))
    return next(
        (n for n in range(4, longest) if len({key[:n] for key in settings}) == len(settings)),
        longest,
    )


def dense_results(records: pd.DataFrame) -> Selection:
    """Level 0 after dense training, once per seed, in the shape of `pruned_results`.

    All methods of a sweep share it; where their dense networks differ (other epochs), each
    different one is a reference of its own: "Dense 1", "Dense 2". Stage "initial" is an untrained
    network and no reference.
    """
    dense = records[records["stage"] == "dense"]
    found = [
        (pair, shared)
        for pair, rows in dense.groupby(["model", "data"])
        for shared in _shared(rows)
    ]
    parts, notes = [], []
    pairs = [pair for pair, _ in found]
    for index, ((model, data), rows) in enumerate(found):
        label = "Dense"
        if pairs.count((model, data)) > 1:
            label = f"Dense {pairs[:index].count((model, data)) + 1}"
            users = ", ".join(sorted(set(rows["label"])))
            notes.append(f"{label} on {model}, {data} is what these started from: {users}")
        parts.append(rows.drop_duplicates("seed").assign(label=label, method="dense", setting=""))
    rows = pd.concat(parts) if parts else dense
    rows = rows.assign(
        requested=1.0, pruned_top1=np.nan, pruned_loss=np.nan, has_pruned="left_only"
    )
    return Selection(_with_failures(rows), notes)


def _shared(dense: pd.DataFrame) -> list[pd.DataFrame]:
    """Rows of settings whose dense networks agree on every seed that they share."""
    groups: list[tuple[dict[int, str], list[pd.DataFrame]]] = []
    by_size = sorted(dense.groupby(["label", "setting"]), key=lambda item: -len(item[1]))
    for _, rows in by_size:
        measured = zip(rows["epochs"], rows["steps"], rows["top1"], rows["loss"], strict=True)
        mine = dict(zip(rows["seed"], map(str, measured), strict=True))
        for seen, parts in groups:
            common = seen.keys() & mine.keys()
            if common and all(seen[seed] == mine[seed] for seed in common):
                seen.update(mine)
                parts.append(rows)
                break
        else:
            groups.append((mine, [rows]))
    return [pd.concat(parts) for _, parts in groups]


def with_dense_change(results: pd.DataFrame, records: pd.DataFrame) -> pd.DataFrame:
    """Adds dense_top1, the dense accuracy of the same seed, and change: top1 - dense_top1.

    That of the run itself; for a run without dense training (it prunes at initialisation) the
    one that all others of its model, data and seed share, NaN where theirs differ. One that
    failed is none.
    """
    dense = records[(records["stage"] == "dense") & ~_not_finite(records, "top1", "loss")]
    own = dense.set_index("folder")["top1"]
    place = ["model", "data", "seed"]
    shared = dense.groupby(place)["top1"].agg(_only).rename("shared").reset_index()
    others = results[place].merge(shared, how="left", on=place)["shared"].to_numpy()
    found = results["folder"].map(own).fillna(pd.Series(others, index=results.index))
    return results.assign(dense_top1=found, change=results["top1"] - found)


def _only(values: "pd.Series[float]") -> float:
    return float(values.iloc[0]) if values.nunique() == 1 else np.nan
