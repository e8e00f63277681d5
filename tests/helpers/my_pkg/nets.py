import functools
import os as os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.models.mlp import Mlp
from my_pkg import other as other

system = os.system
partly = functools.partial(os.mkdir)


class Small(Mlp):
    class Inner(Mlp):
        pass

    taken = staticmethod(os.mkdir)
    foreign = Path

    def own(self) -> Path:
        return Path(f"{np.pi}")

    @classmethod
    def narrow(cls, **keys: Any) -> "Small":
        return cls(hidden=[2], **keys)


class Folder(type(Path())):  # type: ignore[misc]
    pass


def small(**keys: Any) -> Mlp:
    return Small(**keys)


@torch.no_grad()
def decorated(**keys: Any) -> Mlp:
    return Small(**keys)
