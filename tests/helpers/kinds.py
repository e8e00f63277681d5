"""Derives the kinds of tests from what their code reaches; a test without a kind is a unit test.

Only "everywhere" is given by hand, to single cases.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from inspect import unwrap
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
BENCHMARKS = "tests/test_benchmark.py"
COPIES = "tests/test_new_components.py"
PACKAGES = ("tests/test_packages.py", "tests/test_outside.py")
DOCS = ("tests/docs/test_run_blocks.py", "tests/docs/test_site.py")
# What they end and start anew is looked at elsewhere too: on ranks that are forked, in sweeps of
# test_sweep.py, by runs in this process that are cut off, by torchrun of a module.
JOBS = (
    *("launch/test_workers.py", "launch/test_local.py", "launch/test_search.py"),
    *("distributed/test_flips.py", "distributed/test_two_hosts.py", "system/test_signals.py"),
    "experiment/test_shared_stages_at_once.py",
    "delivery/test_runtimes.py::test_a_compiler_that_is_there_compiles",
    "cli/test_commands.py::test_torchrun_starts_the_script_on_two_ranks",
    "cli/test_sweep.py::test_a_signal_stops_a_sweep_and_the_same_command_goes_on[15-75]",
    "distributed/test_ranks.py::test_torchrun_gives_the_masks_of_one_process",
    "distributed/test_watchdog.py::test_a_killed_rank_is_named_under_torchrun",
    "distributed/test_watchdog.py::test_ranks_do_not_outlive_torchrun",
    "report/test_claims_runs.py",
    "run_folder/test_environment.py::test_ranks_that_a_run_starts_and_configs_of_ones_own_are_in",
    "test_fork_server.py::test_it_finds_what_a_real_process_finds",
)

KINDS = {
    "process": "starts processes of its own",
    "ranks": "starts several ranks",
    "slurm": "needs the cluster",
    "browser": "needs a browser",
    "benchmark": "runs programs of scripts/benchmarks",
    "docs": "runs the commands of the documentation, or builds it",
    "copy": "runs tests on a copy of the tree",
    "package": "builds wheel and sdist, and runs what they install",
    "pipeline": "a whole run inside the test's process",
    "job": "a job of several real processes, which are killed, signalled or started twice",
    "everywhere": "one of many places at which a run is cut off; a few of them have no such mark",
}
# Left out by scripts/test, but for --all.
SELDOM = ("everywhere", "benchmark", "browser", "slurm", "docs", "copy", "package", "job")
_RANKS = "forked_ranks"
_STARTERS = (
    "subprocess", "multiprocessing", "fork_server", "harness.launch.backends.local", _RANKS,
)  # fmt: skip
_RUNNERS = ("harness.cli.main", "harness.experiment.runner")
_SEVERAL = ("torch.distributed.run", "nproc", "ranks_per_run")


def of(item: pytest.Item) -> set[str]:
    """Tells the kinds of a test from its fixtures, its file and what its functions name."""
    found = set(getattr(item, "fixturenames", ())) & {"slurm", "browser"}
    if item.nodeid.startswith(BENCHMARKS):
        found.add("benchmark")
    if item.nodeid.startswith(COPIES):
        found.add("copy")
    if item.nodeid.startswith(PACKAGES):
        found.add("package")
    if item.nodeid.startswith(DOCS):
        found.add("docs")
    if item.nodeid.removeprefix("tests/").startswith(JOBS):
        found.add("job")
    if isinstance(item, pytest.Function):
        found |= started(*_functions(item))
    if found:
        return found | {"process"}
    return {"pipeline"} if _runs_all(*_functions(item)) else set()


@cache  # the cases of a test have one function
def started(*functions: object) -> set[str]:
    named = list(_reached(functions))
    if not any(_home(each) in _STARTERS for each in named):
        return set()
    return {"process", "ranks"} if any(map(_says_several, named)) else {"process"}


def rough_cost(item: pytest.Item) -> int:
    """Sorts tests by cost: those that start processes, whole pipelines, and quick ones."""
    if item.get_closest_marker("process"):
        return 10
    return int(item.get_closest_marker("pipeline") is not None)


@cache
def _runs_all(*functions: object) -> bool:
    return any(_home(each) in _RUNNERS for each in _reached(functions))


def _functions(item: pytest.Item) -> Iterator[object]:
    """Yields the function of a test and those of its fixtures; of a doctest nothing."""
    if isinstance(item, pytest.Function):
        yield item.function
        for fixtures in item._fixtureinfo.name2fixturedefs.values():
            yield from (fixture.func for fixture in fixtures)


def _reached(start: Iterable[object]) -> Iterator[object]:
    """Yields what functions and classes of the tests name: constants, globals, and so on."""
    todo, seen = list(start), set[int]()
    while todo:
        each = unwrap(todo.pop())  # type: ignore[arg-type]  # as of a context manager
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, type) and _is_ours(each):
            todo += [getattr(part, "__func__", part) for part in vars(each).values()]
        elif isinstance(each, FunctionType) and _is_ours(each):
            for code in _codes(each.__code__):
                # command.harness may start several ranks; who calls it says whether it does.
                todo += code.co_consts if each.__module__ != "command" else ()
                todo += [each.__globals__[n] for n in code.co_names if n in each.__globals__]


def _is_ours(each: Any) -> bool:
    return _is_of_tests(str(each.__module__))


@cache
def _is_of_tests(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and Path(file).is_relative_to(TESTS)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _codes(part)


def _home(each: object) -> str:
    """Names the module that it is, or that has defined it."""
    name = "__name__" if isinstance(each, ModuleType) else "__module__"
    return str(getattr(each, name, ""))


def _says_several(each: object) -> bool:
    """True if constants say so; names of keyword arguments are such constants."""
    if getattr(each, "__module__", "") == _RANKS:
        return True
    texts = [part for part in (each if isinstance(each, tuple) else (each,)) if type(part) is str]
    return any(text == "ranks" or any(sign in text for sign in _SEVERAL) for text in texts)


class LeftOut:
    """Says at the end how many tests -m has left out, also where workers of xdist collect them."""

    def __init__(self, config: pytest.Config):
        self.config, self.counts = config, Counter[str]()

    @pytest.hookimpl
    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        left = [next(filter(item.get_closest_marker, SELDOM), "") for item in items]
        if all(left):  # else it is -k that leaves them out
            self.counts.update(left)

    @pytest.hookimpl
    def pytest_sessionfinish(self) -> None:
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["left_out"] = dict(self.counts)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.counts = self.counts or Counter(getattr(node, "workeroutput", {}).get("left_out", {}))

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.counts:
            counts = ", ".join(f"{count} {kind}" for kind, count in sorted(self.counts.items()))
            terminalreporter.write_line(f"left out: {counts}; scripts/test --all runs them too")
