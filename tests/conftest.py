"""One thread for all tests; contracts, a test for every file of a conf group; a SLURM cluster."""

import gc
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import kinds
import pytest
import torch
from disk import write_without_waiting
from handlers import changed, handlers
from hydra.utils import instantiate
from omegaconf import OmegaConf
from slurm_cluster import Slurm, missing

ROOT = Path(__file__).parents[1]
CONF, HELPERS = ROOT / "conf", ROOT / "tests" / "helpers"
CLUSTER = "tests/launch/test_slurm_"
collect_ignore = ["helpers"]

torch.set_num_threads(1)
write_without_waiting()
gc.disable()  # until all is imported and collected: a fifth of that time


def pytest_configure(config: pytest.Config) -> None:
    # Started in the background or by nohup, this process ignores Ctrl-C, and so would its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for kind, text in kinds.KINDS.items():
        config.addinivalue_line("markers", f"{kind}: {text}")
    config.pluginmanager.register(kinds.LeftOut(config))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "slurm" in getattr(item, "fixturenames", ()) and not _on_cluster(item.nodeid):
            raise pytest.UsageError(f"{item.nodeid}: tests of the cluster live in {CLUSTER}*.py")
        for kind in sorted(kinds.of(item)):
            item.add_marker(kind)
    if hasattr(config, "workerinput"):
        _long_ones_first(items)


def pytest_collection_finish() -> None:
    gc.enable()


def _long_ones_first(items: list[pytest.Item]) -> None:
    """Orders files by what they may cost, so that no worker is left with a long one at the end.
    Those of the cluster begin: they take longest and mostly wait."""
    costs = Counter[Path]()
    for item in items:
        costs[item.path] += kinds.rough_cost(item)
    items.sort(key=lambda item: (not _on_cluster(item.nodeid), -costs[item.path]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Sends all files of the cluster to one worker under --dist loadfile.

    Two clusters on a machine hand out the same job ids, and so the same ports. Not by
    xdist_group, which pytest-xdist 3.8.0 passes over in silence under pytest 9.2.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return CLUSTER if _on_cluster(nodeid) else str(super()._split_scope(nodeid))

    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def _on_cluster(nodeid: str) -> bool:
    return nodeid.startswith(CLUSTER)


def cases(names: str, *rows: object, ids: Any = None) -> pytest.MarkDecorator:
    """Gives a test each row in turn, as the arguments of these names: "key, value"."""
    return pytest.mark.parametrize(names, rows, ids=ids)


def every(group: str) -> pytest.MarkDecorator:
    """Gives a test each component of conf/<group>/ in turn, as an argument of that name."""
    return pytest.mark.parametrize(group, _components(group))


def names_of(group: str) -> list[str]:
    """Returns the names of the components of conf/<group>/: of models that differ in numbers alone
    (depth, width) the smallest, none without a value that a user must give (???), and none of a
    library, whose networks have tests of their own."""
    files = sorted((CONF / group).glob("*.yaml"))
    assert files, f"conf/{group} holds no component"
    if group != "model":
        return [file.stem for file in files]
    kinds: dict[str, list[tuple[list[float], str]]] = {}
    for file in files:
        keys: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(file))  # type: ignore
        numbers = {key: value for key, value in keys.items() if type(value) in (int, float)}
        kind = str({key: value for key, value in keys.items() if key not in numbers})
        kinds.setdefault(kind, []).append(([*numbers.values()], file.stem))
    return sorted(
        min(alike)[1]
        for kind, alike in kinds.items()
        if "???" not in kind and "Torchvision" not in kind
    )


@cache  # many tests take them, and none changes them: parts are frozen
def _components(group: str) -> list[Any]:
    names = names_of(group)
    return [pytest.param(component(group, name, **narrow(group, name)), id=name) for name in names]


SHALLOW = {"densenet_40": {"depth": 7}, "wrn_16_8": {"depth": 10, "widening": 2}}


def narrow(group: str, name: str) -> dict[str, Any]:
    """Returns the changes that make a model of conf/ cheap, if there are any."""
    keys = OmegaConf.load(CONF / group / f"{name}.yaml")
    return {"width_factor": 1 / 8, **SHALLOW.get(name, {})} if "width_factor" in keys else {}


def component(group: str, name: str, /, seed: int = 0, **changes: object) -> Any:
    """Returns the object that a file of conf/ describes, for a run of this seed and 2:4."""
    part = OmegaConf.merge(OmegaConf.load(CONF / group / f"{name}.yaml"), changes)
    part.pop("defaults", None)  # what goes with it in a composed config
    run = {"seed": seed, "structure": {"n": 2, "m": 4}, "part": part}
    return instantiate(OmegaConf.create(run).part, _convert_="all")


def shape_for(model: Any) -> tuple[int, ...]:
    """Returns the shape of a sample that this model of conf/ takes.

    The default data set comes first, then the others by name. The first data set counts whose
    files are present and whose shape the model does not refuse.
    """
    for shape in (*filter(None, map(_shape_of, _data_sets())), (3, 32, 32)):
        with suppress(ValueError):
            model.build(shape, 10)
            return shape
    raise AssertionError(f"no data set of conf/data suits {model}")


@cache
def _data_sets() -> list[str]:
    defaults = OmegaConf.load(CONF / "config.yaml").defaults
    files = (CONF / "data").glob("*.yaml")
    names = sorted(file.stem for file in files if "???" not in file.read_text())
    return sorted(names, key=lambda name: {"data": name} not in defaults)


@cache
def _shape_of(data: str) -> tuple[int, ...] | None:
    with suppress(ValueError):  # its files are not here
        return component("data", data).load().shape
    return None


@pytest.fixture(scope="session", autouse=True)
def fixture_state(tmp_path_factory) -> Iterator[None]:
    """Keeps the harness's record of a user's own plans out of this user's home."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def fixture_handlers() -> Iterator[None]:
    """Fails a test that leaves other signal handlers: Ctrl-C of the suite would end in them."""
    before = handlers()
    yield
    if odd := changed(before):
        pytest.fail(f"other handlers are left in force for {', '.join(odd)}; use as_before()")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Yields the cluster, from the first test that requests a cluster to the end of all tests."""
    if reason := missing():
        # Where it is meant to be there, a skip would pass for success.
        (pytest.fail if "HARNESS_NEEDS_SLURM" in os.environ else pytest.skip)(reason)
    if "PYTEST_XDIST_WORKER" in os.environ:
        only = tmp_path_factory.getbasetemp().parent / "cluster-is-started"  # shared by workers
        if only.exists():
            pytest.fail("a second worker wants a cluster; run with --dist loadfile")
        only.touch()
    with Slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster
