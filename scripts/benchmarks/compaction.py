"""Removes half of the units of every free group of many networks, and counts what comes of it."""

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.compaction_networks import networks
from benchmarks.figure import Figure, Note, spread
from benchmarks.ranks_jobs import environment

Row = dict[str, Any]
Chosen = dict[str, list[str]]  # library -> names of networks

FILE, BESIDE = Path("compaction.jsonl"), Path("compaction-torch-pruning.jsonl")
WITHIN_S, GIGABYTES = 420, 16
QUICK = {"torchvision": ["squeezenet1_1", "shufflenet_v2_x0_5"]}
OPTIONAL = ("timm", "transformers", "torch_pruning")
PARTS = ("half", "uneven", "whole")


def figures(repeats: int | None, quick: bool) -> Iterator[Figure | Note]:
    """Yields a row for each network, then the shares that came out equal.

    Each network has a process of its own. Its row is appended to compaction.jsonl, and networks
    that have one there are not run again. torch-pruning does the same, if it is installed.
    """
    if quick:
        with TemporaryDirectory(prefix="compaction-") as top:
            yield from survey(QUICK, Path(top, FILE))
        return
    found = networks()
    yield from survey(found, FILE)
    if find_spec("torch_pruning"):
        yield from survey_beside(found, BESIDE)
    for package in OPTIONAL:
        if not find_spec(package):
            yield Note(f"compaction: {package}", "left out: it is not installed")


def survey(chosen: Chosen, file: Path) -> Iterator[Figure | Note]:
    rows = []
    for row in rows_of(chosen, file, "compaction_program"):
        rows.append(row)
        yield Note(f"{row['library']}: {row['network']}", text(row))
    yield from summary(rows)


def survey_beside(chosen: Chosen, file: Path) -> Iterator[Figure | Note]:
    """Yields what torch-pruning's own pruner makes of the same networks."""
    rows = []
    for row in rows_of(chosen, file, "compaction_torch_pruning"):
        rows.append(row)
        yield Note(f"torch-pruning, {row['library']}: {row['network']}", outcome(row))
    for kind, name in (("equal", "equal, half"), ("differs", "silently wrong")):
        number = sum(row["outcome"] == kind for row in rows)
        title = f"torch-pruning: {name}, of {len(rows)}"
        yield Figure(title, "count", number, number, number, {})


def rows_of(chosen: Chosen, file: Path, program: str) -> Iterator[Row]:
    """Yields the row of each network: that of the file, or a new one, which is appended to it."""
    known = {(row["library"], row["network"]): row for row in read(file)}
    for library, names in chosen.items():
        for name in names:
            row = known.get((library, name))
            if row is None:
                row = measured(program, library, name)
                with file.open("a") as lines:
                    lines.write(json.dumps(row) + "\n")
            yield row


def read(file: Path) -> list[Row]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def measured(program: str, library: str, name: str) -> Row:
    """Returns the row of one network, from a process with limits of time and memory."""
    command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{program}", library, name]
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
    # Where, and why; what to do and how it was tried come after a semicolon.
    reason = f": {part['reason'].partition(';')[0]}" if "reason" in part else ""
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
    return {"library": library, "network": name} | failed | dict.fromkeys(PARTS, failed)


def table(rows: list[Row], beside: list[Row]) -> Iterator[str]:
    """Yields the lines of a table in Markdown, one per network."""
    titles = "network, parameters (M), half, uneven, pinned, groups (s), removal and proof (s)"
    heads = [*titles.split(", "), *(["torch-pruning"] if beside else [])]
    yield f"| {' | '.join(heads)} |"
    yield "|" + " --- |" * len(heads)
    others = {(row["library"], row["network"]): outcome(row) for row in beside}
    for row in rows:
        cells = [f"{row['library']}: {row['network']}", *cells_of(row)]
        cells += [others.get((row["library"], row["network"]), "")] if beside else []
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def cells_of(row: Row) -> list[str]:
    if "groups_s" not in row:
        return ["", outcome(row["half"]), *[""] * 4]
    living = " (living)" if row["living"] else ""
    return [
        f"{row['parameters'] / 1e6:.1f}", outcome(row["half"]) + living, outcome(row["uneven"]),
        f"{row['pinned']:.3f}", f"{row['groups_s']:.1f}", f"{row['half']['seconds']:.1f}",
    ]  # fmt: skip


if __name__ == "__main__":
    print("\n".join(table(read(FILE), read(BESIDE))))
