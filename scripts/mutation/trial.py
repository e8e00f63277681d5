"""Runs the mutants through their tests, several at a time, and keeps the results."""

import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Queue

from mutation.baseline import Baseline
from mutation.copies import Copy, Ended
from mutation.draw import AREAS, Placed
from mutation.edits import Mutant

# A test hangs if it takes this many times as long as without the mutant, plus these seconds.
TIMES, GRACE = 3, 120
UNIMPORTABLE = "raise SystemError('this copy is not the one that is tested')\n"


@dataclass(frozen=True)
class Verdict:
    """Holds how one mutant ended.

    killer: the test that failed, "" for a survivor. left_out: test files of its area for which the
    time box had no room.
    """

    commit: str
    area: str
    mutant: Mutant
    killer: str
    seconds: float
    left_out: int


@dataclass(frozen=True)
class Bench:
    """Holds what all trials share."""

    commit: str
    copies: list[Copy]
    baseline: Baseline
    texts: Mapping[str, str]  # of all test files
    box: float

    def verdicts(self, mutants: list[Placed]) -> Iterator[Verdict]:
        """Yields the verdict of each mutant with its area, as they end; one at a time per copy."""
        free: Queue[Copy] = Queue()
        for copy in self.copies:
            free.put(copy)

        def try_one(placed: Placed) -> Verdict:
            copy = free.get()
            try:
                return self.verdict(copy, *placed)
            finally:
                free.put(copy)

        with ThreadPoolExecutor(len(self.copies)) as pool:
            try:
                yield from pool.map(try_one, mutants)
            finally:  # also after Ctrl-C, which the tests ignore
                for copy in self.copies:
                    copy.end()

    def verdict(self, copy: Copy, area: str, mutant: Mutant) -> Verdict:
        files = self.baseline.ordered(mutant, AREAS[area], self.texts)
        chosen = self.baseline.fitting(files, self.box)
        text = (copy.top / mutant.file).read_text()
        ended = self._tested(copy, mutant.file, mutant.applied(text), chosen)
        left_out = len(files) - len(chosen)
        return Verdict(self.commit, area, mutant, killer(ended), ended.seconds, left_out)

    def check_imports(self, mutants: list[Placed]) -> None:
        """Makes a source of each area impossible to import, which its tests must notice.

        Raises:
            RuntimeError: they run with the sources of another place.
        """
        for area, file in {area: mutant.file for area, mutant in mutants}.items():
            every = f"tests/{AREAS[area].tests[0]}/"
            test = next(test for test in self.baseline.seconds if test.startswith(every))
            ended = self._tested(self.copies[0], file, UNIMPORTABLE, [test])
            if not killer(ended):
                raise RuntimeError(f"the tests of {area} do not import {file} of the copy")

    def _tested(self, copy: Copy, file: str, text: str, tests: list[str]) -> Ended:
        """Runs its tests with one file changed, and the file as it was after them."""
        source = copy.top / file
        whole = source.read_text()
        expected = sum(map(self.baseline.took, tests))
        skipped = [f"--deselect={test}" for test in self.baseline.failed]
        source.write_text(text)
        try:
            # The examples in the docstrings of the file are tests too.
            return copy.tests("-x", *skipped, file, *tests, timeout=TIMES * expected + GRACE)
        finally:
            source.write_text(whole)


def killer(ended: Ended) -> str:
    """Returns the first test that failed, or another end of the tests; "" if all passed.

    Raises:
        RuntimeError: pytest was called wrongly, or found no test.
    """
    if ended.rc is None:
        return "timeout"
    if ended.rc in (4, 5) and "ERROR" not in ended.output:
        raise RuntimeError(f"no tests ran: {ended.output[-2000:]}")
    first = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", ended.output, re.MULTILINE)
    return (first[1] if first else f"exit {ended.rc}") if ended.rc else ""


def append(file: Path, verdict: Verdict) -> None:
    with file.open("a") as lines:
        lines.write(json.dumps(asdict(verdict)) + "\n")


def read(file: Path) -> list[Verdict]:
    lines = file.read_text().splitlines() if file.exists() else []
    values = [json.loads(line) for line in lines]
    return [Verdict(**{**value, "mutant": Mutant(**value["mutant"])}) for value in values]
