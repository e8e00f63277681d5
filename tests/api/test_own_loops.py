"""Tests examples/own_loop: a plain loop, and callbacks called as their libraries call them.

Both were also run with lightning 2.6 and transformers 5, which are no dependencies of the tests.
"""

import ast
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import ROOT, cases
from torch import nn
from torch.optim import SGD

import harness

EXAMPLES = ROOT / "examples" / "own_loop"
BASES = {"lightning.pytorch": "Callback", "transformers": "TrainerCallback"}


def loaded(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Returns what an example defines, with empty base classes in place of the libraries'."""
    for library, base in BASES.items():
        module = ModuleType(library)
        setattr(module, base, type(base, (), {}))
        monkeypatch.setitem(sys.modules, library, module)
        monkeypatch.setitem(sys.modules, library.partition(".")[0], module)
    return runpy.run_path(str(EXAMPLES / name))


def pushed(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Takes a step whose gradient is 1 everywhere."""
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def test_the_plain_loop_keeps_a_tenth_and_learns(capsys) -> None:
    runpy.run_path(str(EXAMPLES / "plain_loop.py"))
    left, loss = capsys.readouterr().out.split(" of 1536 weights are left, loss ")
    assert int(left) == 154
    assert float(loss) < 0.5


@cases("name", "lightning_callback.py", "trainer_callback.py")
def test_a_callback_keeps_pruned_weights_at_0(name, monkeypatch) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    masks = harness.prune(model, 0.5)
    optimizer = SGD(model.parameters(), lr=0.1)
    callback = loaded(name, monkeypatch)["KeepMasks"](masks)
    if name.startswith("lightning"):
        callback.on_train_start(SimpleNamespace(optimizers=[optimizer]), model)
    else:
        callback.on_train_begin(None, None, None, model=model, optimizer=optimizer, tokenizer=None)
    pushed(model, optimizer)
    for key, mask in masks.items():
        assert model.get_parameter(key).ne(0).equal(mask)


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda f: f.stem)
def test_the_guide_shows_the_file(file: Path) -> None:
    code = file.read_text().split('"""')[-1].strip()
    assert code in (ROOT / "docs" / "guides" / "own_loop.md").read_text()


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*_callback.py")), ids=lambda f: f.stem)
def test_a_callback_is_at_most_ten_lines(file: Path) -> None:
    (callback,) = [n for n in ast.parse(file.read_text()).body if isinstance(n, ast.ClassDef)]
    assert callback.end_lineno - callback.lineno < 10
