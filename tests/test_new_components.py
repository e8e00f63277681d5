"""A new component is one module and one YAML: on a copy of the tree, with no other edit.

What is added lies in tests/helpers/new_components/ as it would in the repository.
"""

import os
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest
from command import environment, only_run, records_of
from conftest import HELPERS, ROOT

ADDED = HELPERS / "new_components"
# group -> name
NEW = {file.parent.name: file.stem for file in sorted(ADDED.glob("conf/*/*.yaml"))}
# What looks at all components at once, beside the cases of each.
WHOLE = ("test_layout", "test_saliency_defaults", "test_prefix", "test_every_saliency")


@pytest.fixture(scope="module", name="tree")
def fixture_tree(tmp_path_factory) -> Path:
    """Returns a folder with the files that git would have in the checkout, and the new files."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tree = tmp_path_factory.mktemp("tree")
    for name in names.splitlines():
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((ROOT / name).read_bytes())
    copytree(ADDED, tree, dirs_exist_ok=True)
    return tree


def python(tree: Path, *arguments: str) -> str:
    """Returns the output of python ARGUMENTS, which must succeed, with the harness of the copy."""
    path = os.pathsep.join(map(str, (tree, tree / "tests" / "helpers", tree / "tests")))
    env = {**environment(), "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_one_run_is_composed_of_all_four(tree) -> None:
    chosen = [f"{group}={name}" for group, name in NEW.items()]
    python(
        tree, "-m", "harness", *chosen, "schedule=one_shot", "schedule.final=0.5", "tracking=none",
        "training.epochs=1", "retraining.epochs=1", "calibration.samples=32", "progress=none",
    )  # fmt: skip
    dense, pruned, finetuned = records_of(only_run(tree / "runs"))
    # 3 rows of 3 in 6 x 1, 6 x 6 and 6 x 6 kernels, of which half go
    assert pruned.density == finetuned.density == 0.5
    assert dense.parameters - pruned.parameters == 9 * 39
    assert pruned.method == f"{NEW['saliency']}-{NEW['structure']}-uniform"


def test_all_that_holds_for_every_component_holds_for_them(tree) -> None:
    texts = {file: file.read_text() for file in sorted((tree / "tests").rglob("test_*.py"))}
    named = [file for file, text in texts.items() if "every(" in text or "CONF" in text]
    files = [str(file.relative_to(tree)) for file in named if file.name != Path(__file__).name]
    chosen = " or ".join([*NEW.values(), *WHOLE])
    said = python(tree, "-m", "pytest", "-v", "-p", "no:cacheprovider", *files, "-k", chosen)
    for group, name in NEW.items():
        assert name in said, group
