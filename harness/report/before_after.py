"""Says what a run that removed units has made of its network, from the files of its folder."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.report.read.folders import timings
from harness.run_folder import records
from harness.run_folder.outcome import COMPACT, EXPORTS, RESULTS
from harness.system.atomic_files import read_object
from harness.system.json_schema import parse_json

Row = tuple[str, str, str, str]


def before_and_after(run: Path) -> list[str]:
    """Returns lines: groups with units before and after, then a table of both networks, then files.

    Raises:
        ValueError: the folder has no compact/, or a file is damaged.
    """
    compact = read_object(run / COMPACT[1])
    lines = [parse_json(line) for line in records.lines(run / RESULTS[0])]
    rows = [("", "before", "after", ""), *_measured(lines[0], lines[-1]), *_timed(run)]
    files = [run / COMPACT[0], *(run / name for name in EXPORTS.values())]
    return [
        *("  ".join(cells).rstrip() for cells in _aligned(list(_groups(compact)))),
        "",
        *("  ".join(cells).rstrip() for cells in _aligned(rows)),
        "",
        *(f"{file}  {file.stat().st_size / 1e6:.3g} MB" for file in files if file.is_file()),
    ]


def _groups(compact: dict[str, Any]) -> Iterator[Row]:
    """Yields the groups of layers that lost the same units, named by their first layer."""
    groups: dict[str, list[str]] = {}
    for name, (dense, _) in compact["shapes"].items():
        kept = (compact["kept_indices"].get(name) or [None])[0]
        if len(dense) > 1 and kept is not None:
            groups.setdefault(json.dumps([dense[0], kept]), []).append(name)
    for key, names in groups.items():
        units, kept = parse_json(key)
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        yield (f"{names[0]}{more}", f"{units}", "->", f"{len(kept)}")


def _measured(dense: dict[str, Any], last: dict[str, Any]) -> Iterator[Row]:
    for name, key in (("parameters", "parameters"), ("multiply-accumulates", "macs")):
        before, after = dense[key], last[key]
        fewer = f"{before / after:.2f}x fewer" if before and after else ""
        yield (name, f"{before:,}", f"{after:,}", fewer)
    for name, key in (("top-1, test", "top1"), ("top-1, validation", "validation_top1")):
        yield (name, f"{100 * dense[key]:.2f} %", f"{100 * last[key]:.2f} %", "")


def _timed(run: Path) -> Iterator[Row]:
    """Yields the last measurement of every kind; both networks took turns in it."""
    timed = [line for line in timings(run) if line.get("event") == "latency"]
    last = {(e["runtime"], e["batch_size"], e["dtype"], e["threads"]): e for e in timed}
    for (runtime, batch, dtype, threads), event in last.items():
        shown = f"ms, batch {batch}, {runtime}, {dtype}, threads {threads}"
        if why := event.get("not_measured"):
            yield (shown, "-", "-", str(why))
            continue
        low, middle, high = (event[f"speedup_{name}"] for name in ("low", "median", "high"))
        yield (
            shown,
            f"{event['dense_milliseconds_median']:.3g}",
            f"{event['milliseconds_median']:.3g}",
            f"{middle:.2f}x faster ({low:.2f} to {high:.2f})",
        )


def _aligned(rows: list[Row]) -> Iterator[list[str]]:
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(4)]
    for row in rows:
        yield [
            row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].rjust(widths[2]), row[3]
        ]  # fmt: skip
