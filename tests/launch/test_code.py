"""Results of changed code are not taken for those of the code that is there now."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import TINY, environment, run_folders, run_main
from conftest import ROOT, cases

from harness.launch.digests.code import EXCEPT, code_of, own_files
from harness.launch.digests.imports import statements, statements_of_ours

SOURCE = "class Own:\n    width = {}\n"
OWN = {"model": {"_target_": "own_for_code_test.Own"}}


@pytest.fixture(name="own")
def fixture_own(tmp_path, monkeypatch) -> Path:
    module = tmp_path / "own_for_code_test.py"
    module.write_text(SOURCE.format(1))
    monkeypatch.syspath_prepend(tmp_path)
    return module


def test_the_source_of_an_own_part_decides(own) -> None:
    before = code_of(OWN)

    assert code_of(OWN) == before
    own.write_text(SOURCE.format(2))
    assert code_of(OWN) != before


@cases(
    "said",
    "import own_helper",
    "if True: from own_helper import (  # a bracket )\n    value,\n)",
    "def late():\n    from importlib import import_module\n    import_module('own_helper')",
    "import importlib\nfound = importlib.import_module(name='own_helper')",
    "found = __import__('own_helper')",
    "import pkgutil\nfound = pkgutil.resolve_name('own_helper:value')",
    "from own_helper \\\n    import value",
    "from \\\n  own_helper import value",
    "\ufeffimport own_helper",
    "\x0cimport own_helper",
    "digit = '\\d'; import own_helper",
    "# -*- coding: latin-1 -*-\nname = '\xe9'; import own_helper",
    "from own_package.inner import deep",
    "from own_package.inner import *",
    "import own_package.inner as inner\nfound = inner.deep",
    "import own_package.file",
    "from importlib import import_module as load\nload('.inner.deep', package='own_package')",
    "NAME = 'own_helper'\nfound = __import__(NAME)",
    "import pydoc\nfound = pydoc.locate('own_helper.value')",
    "exec('import own_helper')",
    "import runpy\nfound = runpy.run_path('own_helper.py')",
    'TEXT = """\nimport things that are no modules at all\n"""\nimport own_helper',
)
def test_what_an_own_part_imports_decides(own, said) -> None:
    helper, package = own.with_name("own_helper.py"), own.with_name("own_package")
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner" / "__init__.py").write_text("__all__ = ['deep']")
    (package / "file").mkdir()  # which Python takes only where there is no file.py
    (package / "file.py").write_text("import own_helper")
    (package / "inner" / "deep.py").write_text("from ... import own_package\nimport own_helper")
    helper.write_text("value = 1")
    encoding = "latin-1" if "latin-1" in said else "utf-8"
    own.write_text(f"{said}\n{SOURCE.format(1)}", encoding)
    before = code_of(OWN)

    helper.write_text("value = 2")
    assert code_of(OWN) != before
    assert helper in own_files(OWN) and own in own_files(OWN)


def test_a_relative_name_that_is_imported_by_a_call_decides(own) -> None:
    package = own.with_name("own_called")
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "net.py").write_text(
        "import importlib\nimportlib.import_module('.deep', __package__)"
    )
    (package / "deep.py").write_text("")
    assert package / "deep.py" in own_files({"model": {"_target_": "own_called.net.Net"}})


def test_the_fast_way_to_read_imports_finds_all_of_ours() -> None:
    for file in (ROOT / "harness").rglob("*.py"):
        source = file.read_bytes()
        fast = {ast.dump(found) for found in statements_of_ours(source)}
        assert {ast.dump(found) for found in statements(source)} == fast, file


def test_packages_above_a_part_and_relative_imports_decide(own) -> None:
    package = own.with_name("own_parts")
    package.mkdir()
    for name, text in (("__init__", ""), ("net", "from .layers import *\n"), ("layers", "")):
        (package / f"{name}.py").write_text(text)
    parts = {"model": {"_target_": "own_parts.net.Net.of_width"}}
    for name in ("__init__", "layers", "net"):
        before = code_of(parts)
        (package / f"{name}.py").write_text(f"# {name}\nfrom .layers import *\n")
        assert code_of(parts) != before, name


def test_nested_parts_count_and_plain_values_and_libraries_do_not() -> None:
    optimizer = {"_target_": "torch.optim.SGD", "lr": 0.1}
    rate = {"_target_": "harness.learning_rate.cosine.Cosine"}

    bare = code_of({})
    assert code_of({"training": {"epochs": 3}}) == bare
    assert own_files({"training": {"optimizer": optimizer}}) == []
    assert code_of({"training": {"learning_rate": rate}}) != bare
    assert code_of({"training": [{"learning_rate": rate}]}) != bare


NET = """
import torch

class Net:
    def __init__(self, **mlp):
        pass

    def build(self, shape, classes):
        return torch.nn.Sequential(torch.nn.Linear(shape[0], 8), torch.nn.Linear(8, classes))
"""


def test_a_part_that_is_edited_after_its_import_keeps_the_code_that_runs(
    own, tmp_path, monkeypatch
) -> None:
    own.write_text(NET.replace("Net", "Own"))
    run = (*TINY, "model._target_=own_for_code_test.Own", f"output_dir={tmp_path}/runs")

    codes = []
    for seed in (0, 1):
        assert run_main(monkeypatch, *run, f"seed={seed}") == 0
        own.write_text(own.read_text() + "# edited while the sweep runs\n")
    for folder in run_folders(tmp_path / "runs"):
        codes.append(json.loads((folder / "status.json").read_text())["code"])
    assert len(codes) == 2 and codes[0] == codes[1]

    sys.modules.pop("own_for_code_test")  # as in a new process
    folder = run_folders(tmp_path / "runs")[0]
    assert code_of(json.loads((folder / "identity.json").read_text())["hashed_config"]) not in codes


# Runs in a copy of the harness: a run, and then a changed byte in each module it has imported.
PROGRAM = """
import contextlib, json, sys
from pathlib import Path
from harness.cli.main import main
here = str(Path.cwd())
with contextlib.suppress(SystemExit):
    main()
from harness.run_folder.identity import DENSE
from harness.launch.digests import code
from harness.system import loaded_sources
(identity,) = Path("runs").rglob("identity.json")
hashed_config = json.loads(identity.read_text())["hashed_config"]
dense = {key: hashed_config.get(key) for key in DENSE}
before, started = code.code_of(hashed_config), code.code_of(dense)
same = []
files = {n: getattr(m, "__file__", None) for n, m in sys.modules.items() if n[:2] != "__"}
ours = {n: Path(f) for n, f in files.items() if f and f.startswith(here)}
for name, file in ours.items():
    content = file.read_bytes()
    file.write_bytes(content + b"#")
    loaded_sources._loaded.clear()  # as in a new process
    same += [name] if code.code_of(hashed_config) == before else []
    if name in ("harness.data.shared.prepare", "own_net", "own_helper"):
        assert code.code_of(dense) != started, name
    file.write_bytes(content)
print(json.dumps([sorted(ours), same]))
"""


def test_a_changed_byte_in_any_module_of_a_run_changes_its_digest(tmp_path) -> None:
    for name in ("harness", "conf"):
        left = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=left)
    (tmp_path / "own_net.py").write_text("import own_helper\n" + NET)
    (tmp_path / "own_helper.py").write_text("")
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "program.py", *TINY, "model._target_=own_net.Net", "allocation=lamp"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**environment(), "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    ours, same = json.loads(done.stdout.splitlines()[-1])
    assert {"own_net", "own_helper", "harness.data.shared.prepare", "harness.training.loop"} <= {
        *ours
    }
    excepted = [n for n in same if any(n == e or n.startswith(f"{e}.") for e in EXCEPT)]
    assert same == excepted
