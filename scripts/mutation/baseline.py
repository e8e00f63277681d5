"""Runs the unmutated tests: records what each file reaches, its seconds, and its failed tests."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mutation import reached
from mutation.copies import Copy
from mutation.draw import AREAS, Area
from mutation.edits import Mutant

HOURS = 3 * 3600.0


@dataclass
class Baseline:
    """Holds the result of the unmutated tests.

    seconds: by test file. reached: test files by "source file:function". failed: names of tests.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    reached: dict[str, list[str]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def ordered(self, mutant: Mutant, area: Area, texts: Mapping[str, str]) -> list[str]:
        """Returns the test files of the area, likeliest and quickest detectors first.

        First are files that reach the changed function and name its module. Then come files that
        reach the function, files that name the module, and the rest. Within each kind, files of the
        module's own folder are first, and quicker files before slower ones.
        """
        own = f"tests/{mutant.file.split('/')[1]}/"
        parent, _, name = mutant.file.removesuffix(".py").replace("/", ".").rpartition(".")
        reaching = self.reached.get(f"{mutant.file}:{mutant.function}", [])

        def rank(file: str) -> tuple[bool, bool, bool, float]:
            imports = (f"{parent}.{name}", f"from {parent} import {name}")
            names = any(text in texts[file] for text in imports) or f"_{name}" in file
            return file not in reaching, not names, not file.startswith(own), self.took(file)

        folders = tuple(f"tests/{folder}/test_" for folder in area.tests)
        return sorted((file for file in texts if file.startswith(folders)), key=rank)

    def took(self, file: str) -> float:
        """Returns a test file's seconds; 0 without a test here, or newer than the measurement."""
        return self.seconds.get(file, 0.0)

    def fitting(self, files: list[str], box: float) -> list[str]:
        """Returns the files that fit into `box` seconds together, in order; skips the rest."""
        spent, chosen = 0.0, []
        for file in files:
            if spent + self.took(file) <= box:
                spent += self.took(file)
                chosen.append(file)
        return chosen or files[:1]


def measured(copy: Copy, work: Path, areas: Iterable[str]) -> Baseline:
    """Runs all tests of the areas, once per folder; reads results of an earlier start in `work`."""
    folders = sorted({folder for area in areas for folder in AREAS[area].tests})
    return read("".join(_of_folder(copy, work, folder) for folder in folders))


def _of_folder(copy: Copy, work: Path, folder: str) -> str:
    saved = work / f"reached-{folder}.tsv"
    if saved.exists():
        return saved.read_text()
    lines = work / "reached.tsv"
    lines.unlink(missing_ok=True)
    plugin = copy.top / "sitecustomize.py"
    plugin.write_text(Path(reached.__file__).read_text())
    tests = ("-p", plugin.stem, f"tests/{folder}")
    ended = copy.tests(*tests, timeout=HOURS, MUTATION_REACHED=str(lines))
    plugin.unlink()
    if ended.rc not in (0, 1) or not lines.exists():
        raise RuntimeError(f"the unmutated tests did not run: {ended.output[-2000:]}")
    text = lines.read_text()
    if failed := read(text).failed:
        # Tracing may cause a failure: only a test that fails without it counts.
        output = copy.tests(*failed, timeout=HOURS).output
        fine = [f"failed\t{test}\n" for test in failed if f" {test}" not in output]
        for line in fine:
            text = text.replace(line, "")
    saved.write_text(text)
    return text


def read(text: str) -> Baseline:
    """Reads what `Baseline` wrote, a line per fact; of two lines with one fact the last counts.

    >>> read("took\\tt.py\\t1.5\\nreached\\tt.py\\ts.py\\tf\\ntook\\tt.py\\t0.5\\n")
    Baseline(seconds={'t.py': 2.0}, reached={'s.py:f': ['t.py']}, failed=[])
    """
    seconds: dict[str, float] = defaultdict(float)
    reach: dict[str, dict[str, None]] = defaultdict(dict)
    failed: list[str] = []
    for kind, test, *rest in (line.split("\t") for line in text.splitlines()):
        if kind == "took":
            seconds[test] += float(rest[0])
        elif kind == "reached":
            reach[f"{rest[0]}:{rest[1]}"][test] = None
        else:
            failed.append(test)
    return Baseline(dict(seconds), {name: list(files) for name, files in reach.items()}, failed)
