"""Mutants: where a line can be changed, which are drawn, and that a test that fails is seen."""

import ast

import pytest
from conftest import ROOT
from mutation.baseline import Baseline
from mutation.copies import Copy
from mutation.draw import AREAS, KINDS, Placed, drawn, sources_of, standing
from mutation.sites import sites
from mutation.table import rows, stale, unexplained
from mutation.trial import Bench

SOURCES = sources_of(ROOT)
SCHEDULES = {file: text for file, text in SOURCES.items() if file.startswith("harness/schedule/")}


@pytest.fixture(scope="module")
def sixty() -> list[Placed]:
    return drawn(SOURCES, 60, seed=0)


def test_sixty_mutants_are_of_every_area_and_of_every_kind(sixty) -> None:
    assert [area for area, _ in sixty] == [area for area in AREAS for _ in range(12)]
    assert {mutant.kind for _, mutant in sixty} == set(KINDS)


def test_each_mutant_is_python_and_another_program_by_one_line(sixty) -> None:
    for _, mutant in sixty:
        before = SOURCES[mutant.file]
        after = mutant.applied(before)
        assert ast.dump(ast.parse(after)) != ast.dump(ast.parse(before))
        differ = [a != b for a, b in zip(before.split("\n"), after.split("\n"), strict=True)]
        assert sum(differ) == 1


def test_a_draw_hangs_on_its_seed_and_not_on_what_is_edited_elsewhere() -> None:
    # Everything one line lower, and a module more that holds nothing to change.
    moved = {file: f"# A comment.\n{text}" for file, text in SCHEDULES.items()}
    again = drawn(moved | {"harness/schedule/more.py": "import math\n"}, 30, seed=0)
    assert keys(again) == keys(drawn(SCHEDULES, 30, seed=0))
    assert keys(again) != keys(drawn(SCHEDULES, 30, seed=1))


def keys(mutants: list[Placed]) -> list[tuple[str, str, str]]:
    return [mutant.key for _, mutant in mutants]


def test_fewer_mutants_are_the_first_of_each_area_and_one_is_found_again_by_its_text() -> None:
    more, few = drawn(SCHEDULES, 40, seed=0), drawn(SCHEDULES, 15, seed=0)
    assert (len(more), few) == (8, more[:3])
    assert few[0] in standing(SCHEDULES, {few[0][1].key})


# A line of a function, and what it may become.
LINES = {
    "if n < 3 and not done:": [
        "if n <= 3 and not done:", "if n < 4 and not done:", "if n < 3 or not done:",
        "if n < 3 and done:", "if not (n < 3 and not done):",
    ],
    "total += 0.5 * n": ["pass", "total -= 0.5 * n", "total += 0.5 / n", "total += 1.0 * n"],
    "kept = max(x[: k + 1], key=abs)": [
        "kept = min(x[: k + 1], key=abs)", "kept = max(x[: (k + 1) + 1], key=abs)",
        "kept = max(x[: k - 1], key=abs)", "kept = max(x[: k + 2], key=abs)",
    ],
    "return [n for n in range(k) if é is None]": [
        "return [n for n in range(k + 1) if é is None]",
        "return [n for n in range(k) if é is not None]",
        "return [n for n in range(k) if not (é is None)]",
    ],
    'raise ValueError(f"{n + 1} is more than {2 * k}")': ["pass"],
    "self.kept = True": ["pass", "self.kept = False"],
    "kept: list[int] | None = None": [],
    'print("at", n + 1)': [],
    "assert n > 3": [],
}  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_a_line_has_these_mutants(line) -> None:
    body = f"{line}\n        pass" if line.endswith(":") else line
    found = sites("a.py", f"def one(n: int = K) -> int:\n    {body}\n")
    assert sorted(mutant.after.strip() for mutant in found) == sorted(LINES[line])
    assert {(mutant.function, mutant.line) for mutant in found} <= {("one", 2)}


def test_what_words_a_message_or_is_for_types_only_has_none() -> None:
    text = '''"""Of 3 > 2."""
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import a
@dataclass(frozen=True)
class Part:
    def __repr__(self) -> str:
        return "a" * (1 + 2)
def _worded(n: int) -> str:
    more = n + 1
    return f"{more} of {n}" if n > 3 else "none"
'''
    assert sites("a.py", text) == []


def test_a_dropped_raise_or_call_over_many_lines_is_one_line_changed() -> None:
    text = 'def f():\n    raise ValueError(\n        "a"\n    )\n    call(\n        a\n    )\n'
    found = [(mutant.line, mutant.after.strip()) for mutant in sites("a.py", text)]
    assert found == [(2, "ValueError("), (5, "lambda: call(")]


def test_a_verdict_on_a_line_that_is_no_more_is_told() -> None:
    known = {("a.py", "x = 1", "x = 2"): "why", ("b.py", "y = 1", "y = 2"): "why"}
    assert stale(known, {"a.py": "if z:\n    x = 1\n", "b.py": "y = 10\n"}) == [
        "b.py no longer has this line; remove its entry: y = 1"
    ]


def test_a_mutant_is_killed_by_the_first_test_that_fails_and_a_survivor_wants_a_reason(tmp_path):
    source, test = tmp_path / "harness/pruning/half.py", tmp_path / "tests/pruning/test_half.py"
    source.parent.mkdir(parents=True)
    for package in (source.parent, source.parents[1]):  # else another harness would go before
        (package / "__init__.py").touch()
    source.write_text("def half(n):\n    return n // 2 if n >= 0 else 0\n")
    test.parent.mkdir(parents=True)
    test.write_text(
        "from harness.pruning.half import half\n\n\ndef test_half():\n    assert half(4) == 2\n"
    )
    file = "harness/pruning/half.py"
    baseline = Baseline({"tests/pruning/test_half.py": 1.0})
    texts = sources_of(tmp_path, "tests")
    bench = Bench("0", [Copy(tmp_path)], baseline, texts, box=9.0)
    mutants = [("pruning", mutant) for mutant in sites(file, source.read_text())]
    found = {after: mutant for mutant in mutants if (after := mutant[1].after.strip())}
    noticed = found["return n * 2 if n >= 0 else 0"]
    unnoticed = found["return n // 2 if n > 0 else 0"]

    verdicts = list(bench.verdicts([noticed, unnoticed]))

    assert [each.killer for each in verdicts] == ["tests/pruning/test_half.py::test_half", ""]
    assert source.read_text() == "def half(n):\n    return n // 2 if n >= 0 else 0\n"
    assert unexplained(verdicts, {}) == [verdicts[1]]
    assert unexplained(verdicts, {unnoticed[1].key: "half of 0 is 0"}) == []
    assert rows(verdicts, {})[-1].split()[:5] == ["all", "2", "1", "1", "0"]
