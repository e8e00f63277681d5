"""Runs the command line with one flipped bit: flipped_run_program FLIP NOTE -- ARGUMENTS.

FLIP: fields of Flip, as JSON. NOTE: file in which the flip's rank writes time and tensor.
"""

import json
import os
import sys
import time
from pathlib import Path

from benchmarks.bit_flip import Flip, flipping
from harness.cli.main import main
from harness.training.loop import Loop


def run() -> None:
    flip, note, _, *arguments = sys.argv[1:]

    def write(loop: Loop, tensor: str) -> None:
        if tensor:
            Path(note).write_text(json.dumps({"at": time.time(), "tensor": tensor}))

    sys.argv = ["harness", *arguments]
    with flipping(Flip(**json.loads(flip)), int(os.environ["RANK"]), write):
        main()


if __name__ == "__main__":
    run()
