"""Lists the extras of the package, and says which pip command brings one that is missing.

An extra's packages are imported where they are used, so that all else works without them.
"""

from importlib.util import find_spec

# Extra of pyproject.toml -> its packages, as they are imported.
EXTRAS = {
    "data": ("PIL", "mlxtend", "pandas", "sklearn", "torchvision"),
    "export": ("onnx", "onnxruntime", "onnxscript"),
    "metrics": ("torchmetrics",),
    "report": ("matplotlib", "pandas", "scipy", "vl_convert"),
    "search": ("optuna",),
    "slurm": ("submitit",),
    "tensorboard": ("tensorboard",),
    "timm": ("timm", "huggingface_hub"),
    "transformers": ("transformers", "huggingface_hub"),
    "wandb": ("wandb",),
    "wandb-report": ("wandb_workspaces",),
}


class MissingExtra(ImportError, ValueError):
    """Reports packages that are not installed; a command prints it in one line, with status 2."""


def check_extra(extra: str, user: str, *packages: str, remedy: str = "") -> None:
    """Checks that packages of an extra are installed; without `packages`, all of them.

    Args:
        extra: A key of EXTRAS.
        user: What needs the packages, such as tracking=wandb; the message begins with it.
        packages: Names as they are imported.
        remedy: What helps without the packages; the message ends with it.

    Raises:
        MissingExtra: a package is not installed.
    """
    missing = [name for name in packages or EXTRAS[extra] if find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"{user} needs {', '.join(missing)}: pip install 'pruning-harness[{extra}]'{remedy}"
        )
