"""A folder of runs is data: what is read back builds our own components and what is allowed."""

import pickle
from pathlib import Path
from typing import Any

import hydra
import pytest
from conftest import cases
from omegaconf import OmegaConf
from payload import Payload

import harness
from harness.api import calls
from harness.launch import instantiate
from harness.launch.instantiate import build_part
from harness.launch.trust.stored_parts import check_parts, stored_part
from harness.launch.trust.targets import components
from harness.run_folder.export import ExportedModel

MLP = {"_target_": "harness.models.mlp.Mlp", "hidden": [4]}


def payloads(file: Path) -> list[Any]:
    """Returns parts that would create the file."""
    held = file.with_name("held.pkl")
    held.write_bytes(pickle.dumps(Payload(file)))
    touch = {"_target_": "os.mknod", "_args_": [str(file)]}
    write = "harness.system.atomic_files.write_atomic"  # the harness's own, and no component
    text = f"{{_target_: os.mknod, _args_: [{str(file)!r}]}}"
    return [
        touch,
        {"_target_": "os.system", "command": f"touch {file}"},
        {"_target_": "torch.load", "f": str(held), "weights_only": False},
        {"_target_": "pandas.read_pickle", "filepath_or_buffer": str(held)},
        {"_target_": "hydra.utils.instantiate", "config": touch, "_recursive_": False},
        {"_target_": write, "path": str(file), "content": "x"},
        {"_target_": "harness.launch.backends.slurm_queue._call", "_args_": ["touch", str(file)]},
        {"_target_": "harness.launch.instantiate.os.system", "command": f"touch {file}"},
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
    tmp_path, number, monkeypatch
) -> None:
    file = tmp_path / "pwned"
    every = payloads(file)
    assert len(every) == 22
    monkeypatch.setattr(calls, "read_exported", lambda folder: ExportedModel({}, {}, (3,), 2))
    OmegaConf.save(OmegaConf.create({"model": every[number]}), tmp_path / "config.yaml")

    with pytest.raises(ValueError, match=r"^model\b") as caught:
        harness.load(tmp_path)
    assert not file.exists()
    assert "\n" not in str(caught.value)


def test_a_component_of_conf_is_built_and_the_environment_is_asked(monkeypatch) -> None:
    monkeypatch.setenv("WIDTH", "7")
    stored = OmegaConf.create({"model": {**MLP, "hidden": ["${oc.decode:${oc.env:WIDTH}}", 3]}})
    assert build_part(stored_part(stored, "model", ())).hidden == [7, 3]
    assert {"harness.experiment.experiment.Experiment", "torch.optim.SGD"} <= components()


@cases(
    "target, why",
    ("os.system", "is of os, whose functions no config may call"),
    ("builtins.eval", "is of builtins"),
    ("hydra.utils.get_method", "is of hydra"),
    ("harness.system.atomic_files.write_atomic", "is no component of the harness"),
)
def test_what_a_user_writes_builds_nothing_of_python_or_hydra_and_components_alone(
    target, why
) -> None:
    for part in ({"_target_": target}, {**MLP, "hidden": [{"_target_": target}]}):
        with pytest.raises(ValueError, match=rf"^model.*_target_={target} {why}"):
            build_part({"model": part})
        with pytest.raises(ValueError, match=rf"_target_={target} {why}"):
            build_part(OmegaConf.create({"at": target, "model": {**part, "_target_": "${at}"}}))


def test_a_hydra_that_takes_a_list_of_targets_is_given_those_of_the_config(monkeypatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(instantiate, "_HAS_ALLOW_LIST", True)
    monkeypatch.setattr(hydra.utils, "instantiate", lambda config, **known: given.update(known))

    build_part({"model": MLP, "data": {"_target_": "my_pkg.Data", "inner": [MLP]}})

    assert given["_execution_whitelist_"] == ["harness.models.mlp.Mlp", "my_pkg.Data"]


def test_an_own_module_must_be_allowed_by_name() -> None:
    own = {"_target_": "my_pkg.nets.Small", "inner": {"_target_": "my_pkg.Small"}}
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


@cases(
    "name",
    "nets.Small",
    "Small",  # as the package gives it on
    "nets.Small.Inner",
    "nets.Small.narrow",
    "nets.Small.own",
    "nets.small",
    "nets.decorated",
    "nets.other.Other",
    "other.Other",
)
def test_what_an_allowed_module_defines_is_allowed(name) -> None:
    check_parts({"_target_": f"my_pkg.{name}"}, ["my_pkg"])


FOREIGN = {
    "nets.torch.load": "nets.torch is not defined in my_pkg but in torch; write",
    "nets.torch.serialization.load": "in torch; write",
    "nets.np.savetxt": "in numpy; write",
    "nets.Path.unlink": "in pathlib; write",
    "nets.Path": "in pathlib; write",
    "nets.os.mkdir": "in os; write",
    "nets.os.path.exists": "in os; write",
    "nets.system": "in posix; write",
    "nets.functools.partial": "in functools; write",
    "nets.partly": "no module, class or function",
    "nets.Mlp": "in harness.models.mlp; write",
    "nets.Small.taken": "in posix; write",
    "nets.Small.foreign.unlink": "in pathlib; write",
    "nets.Small.build": "defines no build",  # inherited, as in Folder
    "nets.Folder.unlink": "defines no unlink",
    "nets.Small.own.__globals__": "is no component",
    "nets.__builtins__.exec": "is no component",
    "nets.Small.mro": "defines no mro",
    "nets": "is no class or function",
    "absent.Net": "cannot be imported",
    "nets.Absent": "cannot be imported",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_an_allowed_module_imports_or_inherits_is_not_allowed_with_it(name) -> None:
    with pytest.raises(ValueError) as caught:
        check_parts({"_target_": f"my_pkg.{name}"}, ["my_pkg"])
    said = str(caught.value)
    assert said.startswith("config._target_") and f"my_pkg.{name.split('.')[0]}" in said
    assert FOREIGN[name] in said and "\n" not in said


def test_the_module_that_is_allowed_bounds_what_is_its_own() -> None:
    check_parts({"_target_": "my_pkg.nets.small"}, ["my_pkg.nets"])
    with pytest.raises(ValueError, match=r"nets\.other is not defined in my_pkg\.nets but in my_p"):
        check_parts({"_target_": "my_pkg.nets.other.Other"}, ["my_pkg.nets"])
    check_parts({"_target_": "my_pkg.nets.other.Other"}, ["my_pkg.nets", "my_pkg.other"])


@cases("trust", "harness", ["my_pkg", "harness.system.atomic_files"])
def test_the_harness_itself_cannot_be_allowed_whole(trust, tmp_path) -> None:
    write = {
        "_target_": "harness.system.atomic_files.write_atomic",
        "path": str(tmp_path / "x"),
        "content": "x",
    }
    with pytest.raises(ValueError, match="trust must name modules of your own"):
        check_parts({"model": write}, trust)
