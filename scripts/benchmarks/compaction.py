"""Removes half of the units of every free group of many networks, and counts what comes of it."""

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.compaction_networks import networks
from benchmarks.figure import Figure, Note, spread
from benchmarks.ranks_jobs import environment

Row = dict[str, Any]

FILE = Path("compaction.jsonl")
WITHIN_S, GIGABYTES = 420, 16
QUICK = {"torchvision": ["squeezenet1_1", "shufflenet_v2_x0_5"]}
OPTIONAL = ("timm", "transformers")
PARTS = ("half", "uneven", "whole")


def figures(repeats: int | None, quick: bool) -> Iterator[Figure | Note]:
    """Yields a row for each network, then the shares that came out equal.

    Each network has a process of its own. Its row is appended to compaction.jsonl, and networks
    that have one there are not run again.
    """
    if quick:
        with TemporaryDirectory(prefix="compaction-") as top:
            yield from survey(QUICK, Path(top, FILE))
    else:
        found = networks()
        yield from survey(found, FILE)
        for library in OPTIONAL:
            if library not in found:
                yield Note(f"compaction: {library}", "left out: it is not installed")


def survey(chosen: dict[str, list[str]], file: Path) -> Iterator[Figure | Note]:
    known = {(row["library"], row["network"]): row for row in read(file)}
    rows = []
    for library, names in chosen.items():
        for name in names:
            row = known.get((library, name)) or measured(library, name)
            if (library, name) not in known:
                with file.open("a") as lines:
                    lines.write(json.dumps(row) + "\n")
            rows.append(row)
            yield Note(f"{library}: {name}", text(row))
    yield from summary(rows)


def read(file: Path) -> list[Row]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def measured(library: str, name: str) -> Row:
    """Returns the row of one network, from a process with limits of time and memory."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.compaction_program", library, name]
    try:
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=WITHIN_S,
            check=False, preexec_fn=_limit_memory,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return _without(library, name, f"not finished in {WITHIN_S} s")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return _without(library, name, f"status {done.returncode}: {last}")
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def text(row: Row) -> str:
    """Returns a row's figures in words."""
    half, uneven, whole = (row[part] for part in PARTS)
    if "groups_s" not in row:
        return f"{half['outcome']}: {half['reason']}"
    norms = ", norms=living" if row["living"] else ""
    return (
        f"{row['parameters'] / 1e6:.1f} M, half: {outcome(half)}{norms}, "
        f"pinned {row['pinned']:.2f}, groups {row['groups_s']:.1f} s, "
        f"removal and proof {half['seconds']:.1f} s; uneven: {outcome(uneven)}; "
        f"whole: {outcome(whole)}"
    )


def outcome(part: Row) -> str:
    reason = f": {part['reason']}" if "reason" in part else ""
    ratio = f" {part['ratio']:.2f}x" if part["outcome"] == "equal" else ""
    return f"{part['outcome']}{ratio}{reason}"


def summary(rows: list[Row]) -> Iterator[Figure]:
    """Yields the number of networks, and which share of them came out equal."""
    targets = {"half": 0.95, "uneven": 0.9, "whole": 1.0}
    for part, target in targets.items():
        flags = [float(row[part]["outcome"] == "equal") for row in rows]
        share = sum(flags) / len(flags)
        name = f"compaction: equal, {part}, of {len(rows)}"
        yield Figure(name, "ratio", share, min(flags), max(flags), {}, at_least=target)
    ratios = [row["half"]["ratio"] for row in rows if row["half"]["outcome"] == "equal"]
    if ratios:
        yield spread("compaction: parameters, half, dense / left", "ratio", ratios, at_least=3.5)
    wrong = sum(row[part]["outcome"] == "differs" for row in rows for part in PARTS)
    yield Figure("compaction: silently wrong", "count", wrong, wrong, wrong, {}, at_most=0)


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (GIGABYTES << 30, GIGABYTES << 30))


def _without(library: str, name: str, reason: str) -> Row:
    failed = {"outcome": "crashed", "reason": reason}
    return {"library": library, "network": name} | dict.fromkeys(PARTS, failed)


def table(rows: list[Row]) -> Iterator[str]:
    """Yields the lines of a table in Markdown, one per network."""
    titles = "network, parameters (M), half, uneven, pinned, groups (s), removal and proof (s)"
    heads = titles.split(", ")
    yield f"| {' | '.join(heads)} |"
    yield "|" + " --- |" * len(heads)
    for row in rows:
        cells = [f"{row['library']}: {row['network']}"]
        if "groups_s" in row:
            living = " (living)" if row["living"] else ""
            cells += [f"{row['parameters'] / 1e6:.1f}", outcome(row["half"]) + living]
            cells += [outcome(row["uneven"]), f"{row['pinned']:.3f}", f"{row['groups_s']:.1f}"]
            cells += [f"{row['half']['seconds']:.1f}"]
        else:
            cells += ["", outcome(row["half"]), *[""] * 4]
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


if __name__ == "__main__":
    print("\n".join(table(read(Path(sys.argv[1])))))
