"""Comments, messages and scripts use no phrase that the glossary's words have replaced."""

import re
from pathlib import Path

from conftest import ROOT, cases

TOPS = ("harness", "conf", "slurm", "scripts", "examples")
TEXTS = {".py", ".yaml", ".sh", ".sbatch", ".md", ".csv", ""}
FILES = sorted(
    file
    for top in TOPS
    for file in (ROOT / top).rglob("*")
    if file.is_file() and file.suffix in TEXTS and "logs" not in file.parts
)
RETIRED = re.compile(
    r"\b(go(es|ing)? on\b|way out\b|came to\b|carr(y|ies) out\b|told\b"
    r"|the same share\b|a share in\b|(dense|pruned|small|wide|deeper|whole) networks?\b)",
    re.IGNORECASE,
)


def retired(text: str) -> list[str]:
    return [found.group(1) for found in RETIRED.finditer(text)]


def test_no_text_has_a_retired_phrase() -> None:
    found = {str(file): words for file in FILES if (words := retired(_read(file)))}
    assert len(FILES) > 400 and found == {}


def _read(file: Path) -> str:
    return file.read_text(errors="replace")


@cases(
    "text, found",
    ("then the run goes on offline", ["goes on"]), ("came to none yet", ["came to"]),
    ("the dense network and a way out", ["dense network", "way out"]),
    ("the same share of every layer", ["the same share"]),
    ("share_stages: a network file system", []),
)  # fmt: skip
def test_a_retired_phrase_is_found(text, found) -> None:
    assert retired(text) == found
