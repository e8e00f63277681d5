"""Runs `pruning-harness shrink [KEY=VALUE ...]`: a smaller network, from weights and pictures."""

import sys
from collections.abc import Sequence

from harness.cli import run
from harness.launch.backends.rank_env import launcher_name
from harness.system.command_line import print_text

# What `shrink` adds to a command line that does not say otherwise.
DEFAULTS = (
    "model=torchvision",
    "data=image_folder",
    "training.epochs=0",
    "structure=group",
    "structure.round_to=8",
    "saliency=taylor_group",
    "allocation=global_ranking",
    "allocation.per=mac",
    "allocation.min_units=1",
    "allocation.max_share=0.8",
    "schedule=one_shot",
    "schedule.unit=speedup",
    "schedule.final=2",
    "compact=levels",
    "recalibration=batch_norm",
    "calibration.samples=64",
    "calibration.balanced=false",
    "retraining.epochs=10",
    "retraining.batch_size=32",
    "retraining.optimizer.lr=0.0003",
    "learning_rate@retraining.learning_rate=cosine",
    "distillation=hinton",
    "sensitivity.grid=[0.75,0.5,0.25]",
    "latency.batch_sizes=[1]",
    "export=[onnx]",
    "tracking=none",
    "sweep_name=shrink",
)
# Keys that not every component of their group has: without effect where another one is chosen.
OF_SOME = ("allocation.per", "structure.round_to")
USAGE = """\
usage: pruning-harness shrink weights=FILE data.root=FOLDER [model.name=NAME] [KEY=VALUE ...]

Prunes each group of units alone and prints the accuracy, then removes units from all groups,
trains the smaller network on the pictures, measures it beside the dense one, and writes it
to the run's folder: compact/ and export/model.onnx. The same command resumes what was stopped.

  weights=FILE          weights of the network: a state dict of torch.save, or safetensors
  model.name=NAME       a network of torchvision; or model=YOURS --config-dir conf
  data.root=FOLDER      a folder of pictures per class
  schedule.final=2      multiply-accumulates before / after
  retraining.epochs=10  passes over the pictures

It is `pruning-harness sensitivity` and then `pruning-harness` with these keys, which may all be
given another value:

"""


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status; the keys and the statuses are those of a run."""
    if {"-h", "--help"} & set(arguments):
        print_text(USAGE + "\n".join(f"  {word}" for word in DEFAULTS))
        return 0
    words = with_defaults(arguments)
    problem = refusal(words)
    if problem:
        print(f"harness: {problem}", file=sys.stderr)
        return 2
    return run.main(words, "shrink")


def with_defaults(arguments: Sequence[str]) -> list[str]:
    """Returns the words of a command line after the defaults whose keys it does not give.

    >>> words = with_defaults(["schedule.final=3", "allocation=uniform"])
    >>> [word for word in words if word.startswith(("schedule", "allocation"))]
    ... # doctest: +NORMALIZE_WHITESPACE
    ['allocation.min_units=1', 'allocation.max_share=0.8', 'schedule=one_shot',
     'schedule.unit=speedup', 'schedule.final=3', 'allocation=uniform']
    """
    given = {_key(word) for word in arguments}
    lacking = {key for key in OF_SOME if key.partition(".")[0] in given}
    added = [word for word in DEFAULTS if _key(word) not in given | lacking]
    return [*added, *arguments]


def refusal(words: Sequence[str]) -> str:
    """Returns why a command line cannot be run, or no text."""
    keys = {_key(word) for word in words}
    if {"-m", "--multirun"} & set(words):
        return "shrink makes one network; for a sweep give its keys (shrink --help) to run -m"
    if name := launcher_name():
        return f"shrink does not run under {name}; write launch.ranks_per_run=N for several ranks"
    if "weights" not in keys:
        return "shrink needs weights=FILE, the weights of the network that becomes smaller"
    return ""


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]
