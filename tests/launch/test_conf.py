"""Every file of conf/ composes, builds and, as an experiment, runs: a typo fails here."""

import re
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
from command import TINY, only_run, records_of, run_main
from conftest import ROOT, cases
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from harness.experiment import runner
from harness.experiment.config import ExperimentConfig
from harness.experiment.experiment import Experiment
from harness.launch.compose import compose_config
from harness.launch.execute import build
from harness.launch.method_name import EXTRAS, PARTS
from harness.launch.paths import CONF
from harness.run_folder.identity import OPERATIONAL
from harness.vocabulary.checks import matches

FILES = sorted(str(file.relative_to(CONF)) for file in CONF.glob("*/*.yaml"))
EXPERIMENTS = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))
# Presets of papers run in test_presets.py.
OWN_EXPERIMENTS = [name for name in EXPERIMENTS if not re.search("_20[0-9]{2}_", name)]
METHODS = sorted(file.stem for file in (CONF / "method").glob("*.yaml"))
SHORT = {
    "mnist5k": ("data.train=300", "data.validation=50", "data.test=100"),
    "cifar10": ("data.verify=false",),
    "topics": ("data.train=0.02", "data.validation=0.01", "data.test=0.01"),
}
# What an experiment names in steps or levels has no room in one short epoch.
FEW_STEPS = {
    "gradual_magnitude": (
        "gradual.first_step=0",
        "gradual.last_step=6",
        "gradual.interval=2",
        "retraining.epochs=3",
    ),
    "ac_dc": (
        "gradual.first_step=0",
        "gradual.last_step=4",
        "gradual.interval=2",
        "retraining.epochs=3",
    ),
    "rigl": ("mask_updates.update_interval=5",),
    "soft_filters": ("schedule.levels=2",),
}
# What a component may ask of the others: the first with which it is not refused is taken.
SUITED = ((), ("model=lenet_5",), ("structure=row",), ("schedule=one_shot",))
# What a file leaves to the user, and the package that it needs.
GIVEN = {
    "model/python.yaml": ("model.target=torchvision.models:resnet18", "torchvision"),
    "data/python.yaml": ("data.target=torchvision.datasets:FakeData", "torchvision"),
    "data/torchvision.yaml": ("data.name=KMNIST", "torchvision"),
    "model/timm.yaml": ("model.name=resnet18", "timm"),
    "model/transformers.yaml": ("model.name=vit", "transformers"),
}
# Modules with several files -> how the names of these begin.
FAMILIES: dict[str, str | tuple[str, ...]] = {
    "compose": ("cifar_", "imagenet_"),
    "conv_n": "conv_",
    "densenet": "densenet_",
    "resnet_cifar": "resnet_",
    "vgg_bn": "vgg_",
    "wide_resnet": "wrn_",
}
# Data sets of another name than the module that reads them.
READ_BY = dict.fromkeys(("cifar100", "fashion_mnist", "mnist", "svhn"), "torchvision")
# Groups that stand within a training recipe.
INSIDE = ("learning_rate", "augmentation", "mixing")


@pytest.mark.parametrize("file", FILES)
def test_every_file_composes_and_builds(file) -> None:
    group, name = file.removesuffix(".yaml").split("/")
    key = f"{group}@training.{group}" if group in INSIDE else group
    added = "+" if group == "controls" else ""
    given = []
    if file in GIVEN:
        override, package = GIVEN[file]
        pytest.importorskip(package)
        given = [override]
    cfg, experiment = built(f"{added}{key}={name}", *given)
    assert isinstance(experiment, Experiment)
    assert instantiate(cfg.tracking).__class__.__module__.startswith("harness.tracking.")


def built(choice: str, *given: str) -> tuple[DictConfig, object]:
    """Returns the config and what it builds, with the first of SUITED that the choice accepts."""
    for suited in SUITED:
        cfg = compose_config([choice, *given, *suited])
        try:
            return cfg, build(cfg)
        except (InstantiationException, ValueError) as error:
            refused = error
    raise refused


@cases("role", "training", "training@retraining")
@cases("optimizer", "sgd", "adam", "adamw")
@cases("rate", "constant", "multi_step", "cosine")
def test_every_recipe_takes_every_learning_rate(role, optimizer, rate) -> None:
    key = role.rpartition("@")[2]

    recipe = getattr(
        build(compose_config([f"{role}={optimizer}", f"learning_rate@{key}.learning_rate={rate}"])),
        key,
    )

    wanted = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}[optimizer]
    assert recipe.optimizer.func.__name__ == wanted
    assert type(recipe.learning_rate).__module__ == f"harness.learning_rate.{rate}"


@pytest.mark.parametrize("group", sorted({file.split("/")[0] for file in FILES}))
def test_a_components_config_has_the_name_of_its_module(group) -> None:
    files = {file.stem: OmegaConf.load(file) for file in (CONF / group).glob("*.yaml")}
    targets = {name: node._target_ for name, node in files.items() if "_target_" in node}
    package = ROOT / "harness" / {"model": "models"}.get(group, group)
    for name, target in targets.items() if group != "training" else ():
        # A variant, such as one with BatchNorm, has the name of its module and more.
        own = {file.stem: f"{file.stem}_" for file in package.glob("*.py")}
        families = {stem: FAMILIES[stem] for stem in own.keys() & FAMILIES.keys()}
        starts = {**own, **families}
        modules = [stem for stem, start in starts.items() if f"{name}_".startswith(start)]
        longest = max(modules, key=lambda m: len(starts[m]), default=None)
        module = READ_BY.get(name) if group == "data" and name in READ_BY else longest
        assert target.split(".")[1:-1] == [package.name, module]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_has_the_name_of_its_file(name) -> None:
    assert compose_config([f"experiment={name}"]).run_name == name


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_its_label_and_all_its_parts(name) -> None:
    method = OmegaConf.load(CONF / "method" / f"{name}.yaml")

    overridden = {str(key) for entry in method.defaults for key in entry}
    parts = {f"override /{part}" for part in PARTS}
    more = {"override /schedule", *(f"override /{extra}" for extra in EXTRAS)}
    assert parts <= overridden <= parts | more
    assert method.method.label
    assert matches(method.prune_at, get_type_hints(ExperimentConfig)["prune_at"])


def test_every_key_is_a_field_of_the_experiment_or_known_to_be_operational() -> None:
    keys = set(compose_config()) - {"_target_"}

    chosen = set(EXTRAS) - {"finetune"}  # null, unless a file of the group is chosen
    assert keys - set(OPERATIONAL) == set(Experiment.__dataclass_fields__) - chosen


@pytest.fixture(name="cifar")
def fixture_cifar(tmp_path) -> Path:
    """A small archive in the official binary format: 5 x 20 training and 40 test images."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    draw = np.random.default_rng(0)
    sizes = {f"data_batch_{number}": 20 for number in range(1, 6)} | {"test_batch": 40}
    for name, images in sizes.items():
        rows = draw.integers(0, 256, (images, 1 + 3072), dtype=np.uint8)
        rows[:, 0] = np.arange(images) % 10  # an image is its label, then its pixels
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join("abcdefghij"))
    return tmp_path


@pytest.mark.parametrize("name", OWN_EXPERIMENTS)
def test_every_experiment_runs_one_short_level(name, tmp_path, cifar, monkeypatch) -> None:
    cfg = compose_config([f"experiment={name}"])
    data = cfg.data._target_.split(".")[2]
    levels = [] if cfg.schedule.get("levels") is None else ["schedule.levels=1"]
    root = [f"data.root={cifar}"] if data == "cifar10" else []
    status = run_main(
        monkeypatch, f"experiment={name}", *levels, *root, *SHORT.get(data, ()),
        "calibration.samples=50",
        "training.epochs=1", "retraining.epochs=1", "tracking=none", f"output_dir={tmp_path}/runs",
        *FEW_STEPS.get(name, ()),
    )  # fmt: skip

    assert status == 0
    last = records_of(only_run(tmp_path / "runs"))[-1]
    stage = "pruned" if "none" in cfg.finetune._target_ else "finetuned"
    # Inside one training every pruning is a level.
    assert last.level == {"gradual_magnitude": 3, "ac_dc": 2, "soft_filters": 2}.get(name, 1)
    assert last.stage == stage
    unit = "density" if cfg.schedule.unit == "density" else "compression"
    assert getattr(last, unit) == pytest.approx(getattr(last, f"requested_{unit}"), rel=0.01)


@pytest.mark.parametrize("finetune", sorted(f.stem for f in (CONF / "finetune").glob("*.yaml")))
def test_every_finetune_mode_runs(finetune, tmp_path, monkeypatch) -> None:
    assert run_main(monkeypatch, *TINY, f"finetune={finetune}", f"output_dir={tmp_path}") == 0

    last = records_of(only_run(tmp_path))[-1]
    dense = dict.fromkeys(("rewind_to_init", "lr_rewind", "scratch_e"), 2)
    epochs = {"keep": 1, "weight_rewind": 1, "reinit": 1, "none": 0, "scratch_b": 40, **dense}
    assert last.stage == ("pruned" if finetune == "none" else "finetuned")
    assert last.epochs == epochs.get(finetune, last.epochs)


def test_the_survey_is_the_grid_that_the_documentation_names() -> None:
    survey = OmegaConf.load(CONF / "sweep" / "survey.yaml").hydra.sweeper.params

    assert survey["schedule.final"] == "1,2,4,8,16,32,64"
    assert survey["seed"] == "100,101,102"
    assert survey["method"].split(",") == [
        "global_magnitude", "layerwise_magnitude", "global_gradient", "layerwise_gradient",
        "random", "snip",
    ]  # fmt: skip


@cases("compression, keep", (2, 132_895), (4, 66_242), (8, 32_916), (16, 16_253), (64, 3_756))
def test_a_compression_is_solved_to_an_exact_keep_count(compression, keep) -> None:
    # LeNet-300-100 has 266,610 parameters, 410 of them biases: 266,610 / c - 410 weights stay.
    from harness.distributed import Ranks

    cfg = compose_config(
        ["schedule=one_shot", "schedule.unit=compression", f"schedule.final={compression}"]
    )
    levels = runner.prepare(build(cfg), Ranks(), Path("unused"))

    assert (
        round(levels.context.kept_fractions[0] * levels.context.requested.size_model.removable)
        == keep
    )
