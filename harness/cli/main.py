"""Dispatches `pruning-harness COMMAND`: what follows the command goes to its module in this folder.

Exit status: 0 done, 1 something failed, 2 wrong input (one line on stderr), 130 after Ctrl-C, 75
after SIGTERM or SIGUSR1.
"""

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

from harness import __version__
from harness.cli.platforms import refusal
from harness.system.command_line import print_text
from harness.system.names import printable

# Keys are modules of this folder, whose `main(arguments)` returns the exit status.
COMMANDS = {
    "run": "train, prune and retrain; a sweep with -m (the default command)",
    "status": "list the runs of a folder: done, running, failed, missing",
    "report": "write tables, statistics, figures and a page from records",
    "sweep": "write the plan of a sweep, run a part of a plan, retry failed runs",
    "sensitivity": "prune each layer alone and measure the accuracy",
    "latency": "time each layer at several widths, into a file for latency_table",
    "shrink": "make a network smaller, from its weights and a folder of pictures",
    "clean": "list what caches hold and free them",
    "tracking": "upload offline W&B runs, make a W&B report",
    "data": "list the data sets, fetch one",
    "slurm": "write the sbatch templates",
}
INTERNAL = {"worker": "one rank of a run that starts its ranks itself"}
DEFAULT = "run"
# Functions of harness/cli/hydra_main.py.
RUNNING = {"run": "run", "sensitivity": "analyse", "latency": "measure"}

EXAMPLES = """\
  pruning-harness                                   train, prune in 5 levels, retrain
  pruning-harness saliency=random seed=1            with other parts
  pruning-harness experiment=lottery_ticket         a published setting
  pruning-harness --cfg job                         every key and its value
  pruning-harness -m method=random,snip seed=0,1,2  a sweep over all cores or GPUs
  pruning-harness -m sweep=survey                   the default survey
  pruning-harness status runs/survey                what is done, running, failed
  pruning-harness report runs/survey                table, figures, report.html
  pruning-harness sweep retry runs/survey           failed runs again
  pruning-harness sensitivity model=lenet_5         each layer pruned alone
  pruning-harness latency structure=neuron          milliseconds of each layer by width"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit status; some commands raise SystemExit instead."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    first = words[0] if words else ""
    if why := refusal():
        print(f"harness: {why}", file=sys.stderr)
        return 2
    if first in ("-h", "--help"):
        print_text(help_text())
        return 0
    if first == "--version":
        print_text(f"pruning-harness {__version__}")
        return 0
    # Own components are imported from the current folder, as `python -m` does by itself.
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    if first and first not in COMMANDS and first not in INTERNAL and not is_override(first):
        print(f"harness: {printable(_refusal(first))}", file=sys.stderr)
        return 2
    name, rest = (DEFAULT, words) if is_override(first) or not first else (first, words[1:])
    if name in RUNNING:
        # Here, so that few frames lie above a run; by name, so that others need no torch.
        with import_module("harness.cli.run").prepared(rest, RUNNING[name]) as task:
            task()
        return 0
    return int(import_module(f"harness.cli.{name}").main(rest))


def is_override(word: str) -> bool:
    """True if Hydra reads the word: KEY=VALUE, +KEY=VALUE, ~KEY, or a flag.

    >>> [is_override(word) for word in ("seed=1", "~penalty", "-m", "status")]
    [True, True, True, False]
    """
    return "=" in word or word.startswith(("+", "~", "-"))


def common_commands() -> str:
    return f"common commands:\n{EXAMPLES}"


def help_text() -> str:
    lines = [f"  {name:<13}{line}" for name, line in COMMANDS.items()]
    return "\n".join(
        [
            "usage: pruning-harness [COMMAND] [ARGUMENT ...]    (or: python -m harness ...)",
            "",
            "Without COMMAND the arguments are overrides of a run, KEY=VALUE, or flags of Hydra.",
            "",
            "commands:",
            *lines,
            "",
            common_commands(),
            "",
            "`pruning-harness COMMAND --help` explains a command; `run --help` lists all parts.",
        ]
    )


def _refusal(word: str) -> str:
    near = get_close_matches(word, COMMANDS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    names = ", ".join(COMMANDS)
    return f"{word}: no such command; {hint}use KEY=VALUE for a run, or one of {names}"
