"""A folder of runs is data: what is read back builds our own components and what is allowed."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from grids import TINY, planned_of
from omegaconf import OmegaConf

import harness.sweep
from harness import api
from harness.launch import part
from harness.launch.build import build_part
from harness.launch.plan import Plan
from harness.launch.remembered import remembered
from harness.launch.slurm import _result
from harness.launch.trust import check_parts, components, stored_part
from harness.outcome import Outcome
from harness.standing import HOME
from harness.state import Status
from harness.unpickling import ARRAYS, load_only

MLP = {"_target_": "harness.models.mlp.Mlp", "hidden": [4]}


class Payload:
    """Creates a file where it is unpickled."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def payloads(file: Path) -> list[Any]:
    """Parts that would create the file."""
    held = file.with_name("held.pkl")
    held.write_bytes(pickle.dumps(Payload(file)))
    touch = {"_target_": "os.mknod", "_args_": [str(file)]}
    write = "harness.files.write_whole"  # the harness's own, and no component
    text = f"{{_target_: os.mknod, _args_: [{str(file)!r}]}}"
    return [
        touch,
        {"_target_": "os.system", "command": f"touch {file}"},
        {"_target_": "torch.load", "f": str(held), "weights_only": False},
        {"_target_": "pandas.read_pickle", "filepath_or_buffer": str(held)},
        {"_target_": "hydra.utils.instantiate", "config": touch, "_recursive_": False},
        {"_target_": write, "path": str(file), "content": "x"},
        {"_target_": "harness.launch.queue._call", "_args_": ["touch", str(file)]},
        {"_target_": "harness.launch.build.os.system", "command": f"touch {file}"},
        {"_target_": "harness.models.mlp.torch.load", "f": str(held), "weights_only": False},
        {**MLP, "hidden": touch},
        {**MLP, "hidden": [[{"a": touch}]]},
        {**MLP, "_partial_": True, "hidden": {**touch, "_partial_": True}},
        {**MLP, "hidden": f"${{oc.create:{text}}}"},
        {**MLP, "hidden": f"${{oc.decode:{text!r}}}"},
        {**MLP, "hidden": "${oc.env:NO_SUCH,${oc.create:" + text + "}}"},
        {**MLP, "hidden": f'${{oc.decode:${{oc.env:NO_SUCH,"{text}"}}}}'},
        {**MLP, "hidden": "${hydra:runtime.cwd}"},
        {**MLP, "_target_": "${oc.env:TARGET,os.mknod}"},
        {**MLP, "_target_": touch},
        {**MLP, "_target_": "harness.models.mlp.Mlp "},
        {"_target_": "harness.models.mlp.Mlp.__init__.__globals__"},
        {"_target_": ["os.system"]},
    ]


@pytest.mark.parametrize("number", range(22))
def test_what_a_stored_config_must_not_build_is_refused_and_not_built(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pwned"
    every = payloads(file)
    assert len(every) == 22
    monkeypatch.setattr(api, "read_delivery", lambda folder: None)
    OmegaConf.save(OmegaConf.create({"model": every[number]}), tmp_path / "config.yaml")

    with pytest.raises(ValueError, match=r"^model\b") as caught:
        api.load(tmp_path)
    assert not file.exists()
    assert "\n" not in str(caught.value)


def test_a_component_of_conf_is_built_and_the_environment_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WIDTH", "7")
    stored = OmegaConf.create({"model": {**MLP, "hidden": ["${oc.decode:${oc.env:WIDTH}}", 3]}})
    assert build_part(stored_part(stored, "model", ())).hidden == [7, 3]
    assert {"harness.experiment.Experiment", "torch.optim.SGD"} <= components()


def test_an_own_module_must_be_allowed_by_name() -> None:
    own = {"_target_": "my_pkg.nets.Small", "inner": {"_target_": "my_pkg.Other"}}
    with pytest.raises(ValueError, match=r"--trust my_pkg \(harness\.load: trust=\['my_pkg'\]\)"):
        check_parts(own)
    check_parts(own, ["my_pkg"])
    check_parts(own, "my_pkg")
    for wrong in (["my_pkg.nets"], ["my"], ["pkg"], ["my_pkg.nets.Small"]):
        with pytest.raises(ValueError, match="is no component"):
            check_parts(own, wrong)
    for odd in ("", "*", "my-pkg", "my_pkg.", ".my_pkg", "a b"):
        with pytest.raises(ValueError, match="trust must name modules"):
            check_parts(own, [odd])


def plan_in(runs: Path, own: bool, model: Any = None, **changes: Any) -> Plan:
    """One failed point, as the user or somebody else has made it; changes: behind its folder."""
    folder = runs / "grid"
    (point,) = planned_of(*TINY, f"runs={runs}", "sweep_name=grid", "seed=0")
    changed = replace(point.point, config=point.point.config | ({"model": model} if model else {}))
    line = replace(changed, config=changed.config | changes).line()
    home = folder / HOME
    home.mkdir(parents=True, exist_ok=True)
    argv = ["-m", "seed=0", "hydra.sweeper._target_=os.mknod"]
    point = replace(point, line=line, says="seed=0", folder=str(changed.folder))
    points = [point]
    plan = Plan(home / "plan-x.jsonl", "mine", folder, argv, points, own)
    plan.write()
    Path(point.folder).mkdir(parents=True)
    Status(Path(point.folder), "").set("failed", "because")
    return plan


@pytest.fixture(name="tried")
def fixture_tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    tried: list[str] = []

    def attempted(line: str) -> Outcome:
        tried.append(json.loads(line)["config"]["model"]["_target_"])
        return Outcome("finished", "")

    monkeypatch.setattr(part, "attempt_line", attempted)
    return tried


OWN = {"_target_": "my_pkg.nets.Small"}


def test_a_plan_that_the_user_has_made_carries_the_trust(tmp_path: Path, tried: list[str]) -> None:
    plan = plan_in(tmp_path, own=True, model=OWN)
    assert part.carry_out(plan.file, "0/1") == 0
    assert tried == ["my_pkg.nets.Small"]


def test_a_plan_of_others_builds_what_is_allowed(tmp_path: Path, tried: list[str]) -> None:
    plan = plan_in(tmp_path, own=False, model=OWN)
    with pytest.raises(ValueError, match=r"model\._target_=my_pkg\.nets\.Small is no component"):
        part.carry_out(plan.file, "0/1")
    assert tried == []
    assert part.carry_out(plan.file, "0/1", trust=["my_pkg"]) == 0


def test_a_plan_that_was_changed_or_moved_is_the_users_no_more(
    tmp_path: Path, tried: list[str]
) -> None:
    plan = plan_in(tmp_path, own=True, model=OWN)
    content = plan.file.read_bytes()
    plan.file.write_bytes(content.replace(b"my_pkg", b"torch"))
    with pytest.raises(ValueError, match="is no component"):
        part.carry_out(plan.file, "0/1")
    plan.file.write_bytes(content)
    assert Plan.read(plan.file).own
    other = plan.file.with_name("plan-y.jsonl")
    other.write_bytes(content)
    with pytest.raises(ValueError, match="is no component"):
        Plan.read(other)
    assert tried == []


def test_a_plan_of_others_is_no_plan_of_an_earlier_start(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, own=False)
    mine = replace(plan, own=True)
    assert remembered(plan.file, lambda: mine) is mine
    mine.write()
    assert remembered(plan.file, lambda: plan) == mine


def test_retrying_a_plan_of_others_does_not_give_its_command(
    tmp_path: Path, tried: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(tmp_path, own=False)
    given: list[Any] = []
    monkeypatch.setattr(harness.sweep, "harness", lambda *_: given.append(None))
    with pytest.raises(SystemExit) as left:
        harness.sweep.main(["retry", str(plan.folder)])
    assert (left.value.code, tried, given) == (0, ["harness.models.mlp.Mlp"], [])


@pytest.mark.parametrize("changes", [{"name": "elsewhere"}, {"sweep_name": "other"}, {"seed": 5}])
def test_a_plan_of_others_leads_to_no_other_folder(
    tmp_path: Path, changes: dict[str, Any], tried: list[str]
) -> None:
    plan = plan_in(tmp_path, False, **changes)
    with pytest.raises(ValueError, match="somebody has changed this plan"):
        part.carry_out(plan.file, "0/1")
    assert tried == []


def test_a_folder_cannot_bring_the_trust_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(tmp_path, own=True, model=OWN)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "of another user"))
    with pytest.raises(ValueError, match="is no component"):
        Plan.read(plan.file)


def test_without_a_place_for_it_a_plan_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert not Plan.read(plan_in(tmp_path, own=True).file).own


class Job:
    """As submitit has one."""

    job_id = "7"

    def __init__(self, result: Path):
        self.paths = type("Paths", (), {"result_pickle": result, "stderr": "log"})


def test_a_jobs_result_is_read_as_data(tmp_path: Path) -> None:
    file = tmp_path / "result.pkl"
    found = Outcome("finished", "x", top1=0.5)
    for content, state in (
        (("success", found), "finished"),
        (("error", "Traceback\nValueError: no"), "failed"),
        (("success", Payload(tmp_path / "pwned")), "failed"),
        (Payload(tmp_path / "pwned"), "failed"),
        ((), "failed"),
    ):
        file.write_bytes(pickle.dumps(content))
        assert _result(Job(file), tmp_path).state == state  # type: ignore[arg-type]
    file.write_bytes(b"not a pickle")
    assert _result(Job(file), tmp_path).state == "failed"
    assert not (tmp_path / "pwned").exists()


def test_a_pickled_data_set_holds_arrays_only(tmp_path: Path) -> None:
    import numpy as np

    file = tmp_path / "data_batch_1"
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        entry = {"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "labels": [0, 1]}
        file.write_bytes(pickle.dumps(entry, protocol))
        with file.open("rb") as opened:
            assert load_only(opened, ARRAYS, "latin1")["data"].tolist() == [[0, 1, 2], [3, 4, 5]]
    file.write_bytes(pickle.dumps({"data": Payload(tmp_path / "pwned")}))
    with file.open("rb") as opened, pytest.raises(pickle.UnpicklingError, match="it would use"):
        load_only(opened, ARRAYS)
    assert not (tmp_path / "pwned").exists()
