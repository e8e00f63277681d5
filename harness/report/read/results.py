"""Selects the record that is the result of a run at a level, per method, compression and seed."""

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
    """Holds the rows selected so far, and a note for each step that dropped rows."""

    rows: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    def without(self, dropped: "pd.Series[bool]", reason: str) -> "Selection":
        if not dropped.any():
            return self
        folders = name_some(self.rows.loc[dropped, "folder"])
        note = f"{dropped.sum()} left out, {reason}: {folders}"
        return Selection(self.rows[~dropped], [*self.notes, note])


def name_some(folders: Iterable[str]) -> str:
    """Names the first three folders, and counts the rest.

    >>> name_some(["b", "a", "d", "c", "a"])
    'a, b, c and 1 more'
    """
    names = sorted(set(folders))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def pruned_results(records: pd.DataFrame, unfinished: Collection[str] = ()) -> Selection:
    """Selects the last stage of each run and level, once per POINT and seed.

    Intermediate levels are no results. Masks that shrink inside one training, or soft pruning, are
    one treatment, and its last level is its result.

    Adds the columns requested (compression, four digits), pruned_top1 (right after pruning),
    failed and pruned_failed (accuracy or loss is not finite).

    unfinished: folders of runs that may continue. At their last level, a record right after pruning
    or recalibration is no result yet.
    """
    selection = Selection(_with_failures(_last_stages(records)))
    selection = selection.without(
        _incomplete(selection.rows, unfinished), "their run has not finished that level"
    )
    for stage, word in (("finetuned", "fine-tuned"), ("recalibrated", "recalibrated")):
        selection = selection.without(_unfinished(selection.rows, stage), f"not yet {word}")
    selection = selection.without(
        _repeated(selection.rows), "a run with more levels reached the same compression"
    )
    # Sorted, so that the duplicate that is kept does not depend on the file system.
    ordered = selection.rows.sort_values("folder")
    return _without_duplicates(Selection(ordered, selection.notes))


def _without_duplicates(selection: Selection) -> Selection:
    rows = selection.rows
    duplicate = rows.duplicated([*POINT, "seed"])
    # On one machine, setting and seed decide a result: a duplicate that differs is no copy.
    differs = duplicate & ~rows.duplicated([*POINT, "seed", "top1", "loss"])
    reason = "duplicates of the same setting, seed and compression"
    copies = selection.without(duplicate & ~differs, reason)
    return copies.without(differs[copies.rows.index], f"{reason} with different values")


def written_last(records: pd.DataFrame) -> pd.DataFrame:
    """Returns the last record of each run, level and stage."""
    return records.drop_duplicates(["folder", "level", "stage"], keep="last", ignore_index=True)


def candidates(records: pd.DataFrame) -> pd.DataFrame:
    """Returns the records of pruned models that may be results."""
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
        requested=[float(f"{requested:.4g}") for requested in rows["requested_compression"]]
    )


def _with_failures(rows: pd.DataFrame) -> pd.DataFrame:
    # The outputs of a failed model are NaN: argmax returns a class, which is right by chance.
    failed = _not_finite(rows, "top1", "loss")
    pruned_failed = _not_finite(rows, "pruned_top1", "pruned_loss")
    return rows.assign(
        failed=failed,
        top1=rows["top1"].mask(failed),
        top5=rows["top5"].mask(failed),
        pruned_failed=pruned_failed & (rows["has_pruned"] == "both"),
        pruned_top1=rows["pruned_top1"].mask(pruned_failed),
    )


def _incomplete(rows: pd.DataFrame, unfinished: Collection[str]) -> "pd.Series[bool]":
    continues = rows["folder"].isin(unfinished) & (rows["level"] == rows["reached"])
    return continues & (rows["stage"] != STAGES[-1])


def _not_finite(rows: pd.DataFrame, *columns: str) -> "pd.Series[bool]":
    return ~rows[list(columns)].astype(float).apply(np.isfinite).all(axis=1)


def _unfinished(rows: pd.DataFrame, stage: str) -> "pd.Series[bool]":
    # Where other results of the line are fine-tuned, accuracy right after pruning is no result.
    # A level that the run continued from was left without fine-tuning on purpose.
    done = (rows["rank"] >= STAGES.index(stage)).rename("done")
    point_has = done.groupby([rows[key] for key in POINT]).transform("any")
    line_has = done.groupby([rows[key] for key in LINE]).transform("any")
    return ~done & (point_has | (line_has & (rows["level"] == rows["reached"])))


def _repeated(rows: pd.DataFrame) -> "pd.Series[bool]":
    # 4x at level 2 and 4x at level 4 are two treatments; the one with more levels counts.
    return rows["level"] < rows.groupby(POINT)["level"].transform("max")


def dense_results(records: pd.DataFrame) -> Selection:
    """Selects level 0 after dense training, once per seed, in the shape of `pruned_results`.

    All methods of a sweep share their dense models. Where dense models differ (in epochs, say),
    each kind is a reference of its own: "Dense 1", "Dense 2". Stage "initial" is an untrained model
    and no reference.
    """
    dense = records[records["stage"] == "dense"]
    references = [
        (pair, shared)
        for pair, rows in dense.groupby(["model", "data"])
        for shared in _shared(rows)
    ]
    parts, notes = [], []
    pairs = [pair for pair, _ in references]
    for index, ((model, data), rows) in enumerate(references):
        label = "Dense"
        if pairs.count((model, data)) > 1:
            label = f"Dense {pairs[:index].count((model, data)) + 1}"
            users = ", ".join(sorted(set(rows["label"])))
            notes.append(f"{label} on {model}, {data} is the dense model of: {users}")
        named = {"label": label, "recorded_label": label, "method": "dense", "setting": ""}
        parts.append(rows.drop_duplicates("seed").assign(**named))
    rows = pd.concat(parts) if parts else dense
    rows = rows.assign(
        requested=1.0, pruned_top1=np.nan, pruned_loss=np.nan, has_pruned="left_only"
    )
    return Selection(_with_failures(rows), notes)


def _shared(dense: pd.DataFrame) -> list[pd.DataFrame]:
    """Groups the settings whose dense models agree on every common seed."""
    groups: list[tuple[dict[int, str], list[pd.DataFrame]]] = []
    by_size = sorted(dense.groupby(["label", "setting"]), key=lambda item: -len(item[1]))
    for _, rows in by_size:
        measured = zip(rows["epochs"], rows["steps"], rows["top1"], rows["loss"], strict=True)
        by_seed = dict(zip(rows["seed"], map(str, measured), strict=True))
        for group, parts in groups:
            common = group.keys() & by_seed.keys()
            if common and all(group[seed] == by_seed[seed] for seed in common):
                group.update(by_seed)
                parts.append(rows)
                break
        else:
            groups.append((by_seed, [rows]))
    return [pd.concat(parts) for _, parts in groups]


def with_dense_change(results: pd.DataFrame, records: pd.DataFrame) -> pd.DataFrame:
    """Adds dense_top1, the dense accuracy of the same seed, and change: top1 - dense_top1.

    The dense accuracy is that of the run itself. A run without dense training (it prunes at
    initialisation) gets the value shared by all runs of its model, data and seed, or NaN where
    their values differ. A dense model that failed does not count.
    """
    dense = records[(records["stage"] == "dense") & ~_not_finite(records, "top1", "loss")]
    own = dense.set_index("folder")["top1"]
    keys = ["model", "data", "seed"]
    shared = dense.groupby(keys)["top1"].agg(_only).rename("shared").reset_index()
    fallback = results[keys].merge(shared, how="left", on=keys)["shared"].to_numpy()
    dense_top1 = results["folder"].map(own).fillna(pd.Series(fallback, index=results.index))
    return results.assign(dense_top1=dense_top1, change=results["top1"] - dense_top1)


def _only(values: "pd.Series[float]") -> float:
    return float(values.iloc[0]) if values.nunique() == 1 else np.nan
