"""Prints a row per area, and every survivor with the reason why no test can notice it."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from mutation.draw import AREAS
from mutation.trial import Verdict

Equivalent = dict[tuple[str, str, str], str]  # Mutant.key -> why
HEAD = f"{'area':<14} {'drawn':>5} {'killed':>6} {'survived':>8} {'equivalent':>10} {'seconds':>7}"


def equivalent(file: Path) -> Equivalent:
    """Reads the survivors that compute the same as the original, by their text, with reasons."""
    tables = tomllib.loads(file.read_text()).get("equivalent", [])
    return {(entry["file"], entry["before"], entry["after"]): entry["because"] for entry in tables}


def rows(verdicts: list[Verdict], known: Equivalent) -> list[str]:
    areas = [area for area in AREAS if any(verdict.area == area for verdict in verdicts)]
    lines = [_row(area, [v for v in verdicts if v.area == area], known) for area in areas]
    return [HEAD, *lines, _row("all", verdicts, known)]


def _row(area: str, verdicts: list[Verdict], known: Equivalent) -> str:
    alive = [verdict for verdict in verdicts if not verdict.killer]
    same = sum(verdict.mutant.key in known for verdict in alive)
    seconds = sum(verdict.seconds for verdict in verdicts)
    killed = len(verdicts) - len(alive)
    return f"{area:<14} {len(verdicts):>5} {killed:>6} {len(alive):>8} {same:>10} {seconds:>7.0f}"


def format_verdict(verdict: Verdict, known: Equivalent) -> str:
    """Formats a mutant as a difference, with how it ended."""
    mutant = verdict.mutant
    how = f"killed by {verdict.killer}" if verdict.killer else "survived"
    if not verdict.killer and verdict.left_out:
        how += f" ({verdict.left_out} slow test files of its area left out)"
    lines = [
        f"{mutant.file}:{mutant.line} {mutant.kind}: {how} ({verdict.seconds:.0f} s)",
        f"  - {mutant.before.strip()}",
        f"  + {mutant.after.strip()}",
    ]
    why = known.get(mutant.key)
    return "\n".join(lines + ([f"  equivalent because {why}"] if why else []))


def unexplained(verdicts: list[Verdict], known: Equivalent) -> list[Verdict]:
    return [
        verdict for verdict in verdicts if not verdict.killer and verdict.mutant.key not in known
    ]


def stale(known: Equivalent, sources: Mapping[str, str]) -> list[str]:
    """Returns a message per known survivor whose line no longer exists."""
    return [
        f"{file} no longer has this line; remove its entry: {before}"
        for file, before, _ in known
        if before not in map(str.strip, sources.get(file, "").splitlines())
    ]
