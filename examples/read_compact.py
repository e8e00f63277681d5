"""Loads a smaller model from its folder compact/, with torch and safetensors alone: copy this file.

model = read_compact("runs/single/41/run-414c612a9122/compact", build_the_dense_model())
"""

import hashlib
import json
from pathlib import Path

import safetensors.torch
from torch import nn


def read_compact(folder: str | Path, model: nn.Module) -> nn.Module:
    """Gives the dense model, in place, the smaller shapes and the weights of the folder."""
    facts = json.loads((Path(folder) / "compact.json").read_text())
    tensors = (Path(folder) / "model.safetensors").read_bytes()
    if facts["format"] != 1 or facts["sha256"] != hashlib.sha256(tensors).hexdigest():
        raise ValueError(f"{folder}: model.safetensors is damaged, or format={facts['format']}")
    check(model, facts)
    for name in facts.get("blocks", ()):
        parent, leaf = owner(model, name)
        setattr(parent, leaf, nn.Identity())
    for name, (_, value) in facts["attributes"].items():
        module, attribute = owner(model, name)
        is_tuple = isinstance(getattr(module, attribute), tuple)
        setattr(module, attribute, tuple(value) if is_tuple else value)
    replaced = {}  # tied tensors stay tied; old ones are held, so that no id is used twice
    for name, tensor in safetensors.torch.load(tensors).items():
        module, leaf = owner(model, name)
        old = getattr(module, leaf, None)
        if leaf == "_extra_state":
            module.set_extra_state(tensor)
        elif isinstance(old, nn.Parameter):
            new = nn.Parameter(tensor.to(old.device), old.requires_grad)
            setattr(module, leaf, replaced.setdefault(id(old), (old, new))[1])
        else:
            module.register_buffer(leaf, tensor, leaf not in module._non_persistent_buffers_set)
    return model.eval()


def check(model: nn.Module, facts: dict) -> None:
    """Raises ValueError if the model is another one; names the first difference."""
    own = [*model.named_parameters(remove_duplicate=False)]
    own += model.named_buffers(remove_duplicate=False)
    here = {"class": type(model).__qualname__, **{name: [*tensor.shape] for name, tensor in own}}
    there = {"class": facts["class"], **{name: old for name, (old, _) in facts["shapes"].items()}}
    modules = dict(model.named_modules())
    for name, (old, _) in facts["attributes"].items():
        path, _, attribute = name.rpartition(".")
        value = getattr(modules.get(path), attribute, None)
        here[name], there[name] = list(value) if isinstance(value, tuple) else value, old
    for name in {**there, **here}:
        if here.get(name) != there.get(name):
            raise ValueError(f"{name}: {there.get(name)} in the folder, {here.get(name)} here")


def owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return model.get_submodule(path), leaf
