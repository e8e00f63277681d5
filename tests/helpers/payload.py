"""What a pickle may do to whoever reads it."""

from pathlib import Path
from typing import Any


class Payload:
    """Creates a file where it is unpickled."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)
