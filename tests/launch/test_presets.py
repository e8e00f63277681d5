"""Presets of published settings: each is what its paper's table says, and runs shortened."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import only_run, records_of, run_main
from conftest import cases
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from official_files import write_cifar10, write_imagenet, write_mnist
from omegaconf import OmegaConf
from reference.recipes import presets, recipe_of

from harness.launch.compose import compose_config
from harness.launch.paths import CONF
from harness.run_folder.identity import value_at

PRESETS = presets()
# What a recipe must say of a training.
TRAINING = (
    "epochs", "batch_size", "optimizer.lr", "optimizer.weight_decay",
    "learning_rate.warmup_epochs", "augmentation",
)  # fmt: skip
IN_A_RECIPE = ("learning_rate", "augmentation")
WRITE = {"cifar10": write_cifar10, "mnist": write_mnist, "image_folder": write_imagenet}
# Fractions kept by 1 to 16 rounds, from figure 2 of arXiv:1803.03635: weights of a layer, rate.
ROUNDS = {
    "lenet_300_100": [(235_200, 0.2), (30_000, 0.2), (1_000, 0.1)],
    "conv_2": [(38_592, 0.1), (4_194_304, 0.2), (65_536, 0.2), (2_560, 0.1)],
    "conv_4": [(259_776, 0.1), (2_097_152, 0.2), (65_536, 0.2), (2_560, 0.1)],
    "conv_6": [(1_144_512, 0.15), (1_048_576, 0.2), (65_536, 0.2), (2_560, 0.1)],
}


@cache
def composed(preset: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the config of a preset, and the files chosen in it by dotted key."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [f"experiment={preset}"], return_hydra_config=True)
    choices = dict(cfg.hydra.runtime.choices)
    del cfg.hydra
    config = OmegaConf.to_container(cfg)
    return config, {key.rpartition("@")[2]: choice for key, choice in choices.items()}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_field_of_a_preset_is_as_in_the_table_of_its_paper(preset) -> None:
    config, chosen = composed(preset)
    differing = {}
    for key, cell in recipe_of(preset).items():
        is_part = key in chosen and not key.startswith("hydra")
        value = chosen[key] if is_part else value_at(config, key)
        if value != cell.parsed:
            differing[key] = (value, cell.parsed)
    assert differing == {}


@pytest.mark.parametrize("preset", PRESETS)
def test_the_table_has_all_that_a_preset_sets_and_all_that_a_paper_must_say(preset) -> None:
    config, chosen = composed(preset)
    trained = ["training"] if uses_dense(config) else []
    if chosen["finetune"] == "keep":
        trained.append("retraining")
    needed = {f"{recipe}.{field}" for recipe in trained for field in TRAINING}
    needed |= {"model", "data", "exclude", "schedule", "schedule.unit", "finetune"}
    needed |= {"method"} if chosen["method"] else {"saliency", "structure", "allocation"}
    assert sorted((needed | keys_set_by(preset)) - recipe_of(preset).keys()) == []


def uses_dense(config: dict[str, Any]) -> bool:
    return config["prune_at"] == "after_training" and config["training"]["epochs"] > 0


def keys_set_by(preset: str) -> set[str]:
    """Returns the dotted keys of a preset's file, those of chosen parts too."""
    content = yaml.safe_load((CONF / f"experiment/{preset}.yaml").read_text())
    words = [key.split()[1] for entry in content.pop("defaults") for key in entry]
    chosen = {word.lstrip("/").rpartition("@")[2] for word in words}
    for name in ("run_name", "method"):
        content.pop(name, None)
    # Lists of sizes have a test of their own.
    return chosen | set(leaves(content)) - {"schedule.values"}


def leaves(content: dict[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key, value in content.items():
        whole = not isinstance(value, dict) or key in ("densities", "rates")
        found += [prefix + key] if whole else leaves(value, f"{prefix}{key}.")
    return found


@pytest.mark.parametrize("network", ROUNDS)
def test_rounds_of_a_lottery_ticket_keep_what_the_rates_of_its_layers_say(network) -> None:
    config, _ = composed(f"frankle_2019_{network}")
    layers = ROUNDS[network]
    total = sum(weights for weights, _ in layers)
    kept = [sum(n * (1 - rate) ** round_ for n, rate in layers) / total for round_ in range(1, 17)]
    assert config["schedule"]["values"] == pytest.approx(kept, abs=1e-6)


@cases("version, millions, macs", ("a", 0.77, 112e6), ("b", 0.74, 90.9e6))
def test_layers_of_li_et_al_leave_their_published_size(version, millions, macs) -> None:
    # Table 1 of arXiv:1608.08710 has 0.77 and 0.73 million parameters, 112 and 90.9 million MACs.
    config, _ = composed(f"li_2017_resnet_56_{version}")
    whole = {word for word in config["exclude"] if word.endswith("conv1")}
    parameters, left = 853_018, 125_485_696
    kept = total = 0
    for stage, (filters, pixels) in enumerate([(16, 1024), (32, 256), (64, 64)], start=1):
        share = config["allocation"]["densities"][f"layer{stage}.*"]
        blocks = 9 - sum(word.startswith(f"layer{stage}.") for word in whole)
        removed = blocks * (filters - round(share * filters))
        # A filter of these layers, its scale and its shift; the first block reads fewer channels.
        size = 9 * filters + 2
        kept, total = kept + (blocks * filters - removed) * size, total + blocks * filters * size
        parameters -= removed * (2 * 9 * filters + 2)
        left -= removed * 2 * 9 * filters * pixels
    assert round(parameters / 1e6, 2) == millions
    assert left == pytest.approx(macs, rel=0.005)
    assert config["schedule"]["final"] == pytest.approx(kept / total, abs=1e-6)


def shortened(preset: str) -> list[str]:
    """Returns overrides with which a preset runs in seconds: less of width, depth and epochs."""
    config, chosen = composed(preset)
    words = ["rehearse=false", "retraining.epochs=1", "weights=null"]
    words += [f"training.epochs={int(uses_dense(config))}"]
    if chosen["data"] == "image_folder":
        size = 224 if chosen["model"] == "timm" else 32
        words += [f"data.size={size}", "calibration.samples=8"]
    else:
        words += ["data.verify=false", "data.validation=0.3"]
        few = "per_class=2" if config["calibration"]["per_class"] else "samples=30"
        words.append(f"calibration.{few}")
    return words + smaller(chosen) + fewer_steps(config, chosen)


def smaller(chosen: dict[str, str]) -> list[str]:
    model = chosen["model"]
    if model == "torchvision":
        return ["model.name=resnet18"]
    if model == "timm":
        options = "{depth: 2, embed_dim: 48, num_heads: 3}"
        return ["model.name=deit_tiny_distilled_patch16_224", f"model.options={options}"]
    if model == "lenet_300_100" or chosen["allocation"] == "manual":
        return []  # published counts of filters
    shallow = ["model.depth=8"] if model in ("resnet_20", "resnet_56", "resnet_110") else []
    return [*shallow, "model.width_factor=0.25"]


def fewer_steps(config: dict[str, Any], chosen: dict[str, str]) -> list[str]:
    words = []
    if chosen["schedule"] == "explicit":
        words.append("schedule.values=[0.8]")
    if chosen["schedule"] == "cubic":
        words += ["gradual.first_step=0", "gradual.last_step=1", "gradual.interval=1"]
        words.append("retraining.epochs=2")
    if config["schedule"].get("rounds") or chosen["method"] == "synflow":
        words.append("schedule.rounds=2")
    if chosen["penalty"]:
        words.append("penalty.epochs=1")
    if chosen["mask_updates"]:
        words += ["mask_updates.update_interval=1", "retraining.epochs=3"]
    return words


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_runs_shortened_on_the_official_file_format(preset, tmp_path, monkeypatch) -> None:
    config, chosen = composed(preset)
    WRITE[chosen["data"]](tmp_path / "data")

    status = run_main(
        monkeypatch, f"experiment={preset}", *shortened(preset),
        f"data.root={tmp_path}/data", "tracking=none", f"output_dir={tmp_path}/runs",
    )  # fmt: skip

    assert status == 0
    last = records_of(only_run(tmp_path / "runs"))[-1]
    assert last.stage == "finetuned"
    unit, final = config["schedule"]["unit"], config["schedule"].get("final")
    if unit == "speedup":
        assert last.speedup == pytest.approx(final, rel=0.1)
    else:
        # A weight that RigL has just grown is still 0, and counts in the masks.
        reached = last.density_of_masks if unit == "density" else last.compression
        assert reached == pytest.approx(getattr(last, f"requested_{unit}"), rel=0.01)


def test_a_recipe_names_a_source_for_every_cell() -> None:
    assert all(cell.source for preset in PRESETS for cell in recipe_of(preset).values())


def test_every_experiment_named_by_paper_and_year_is_in_the_table() -> None:
    named = {file.stem for file in Path(CONF / "experiment").glob("*_20[0-9][0-9]_*.yaml")}
    assert named == set(PRESETS)


@cases("sweep", "blalock_2020", "liu_2019", "renda_2020", "tanaka_2020")
def test_a_sweep_of_a_paper_names_its_presets(sweep) -> None:
    grid = yaml.safe_load((CONF / f"sweep/{sweep}.yaml").read_text())["hydra"]["sweeper"]["params"]
    named = grid["experiment"].split(",")
    assert named == [name for name in named if name in PRESETS and name.startswith(f"{sweep}_")]
    for group in ("method", "finetune"):
        for choice in grid.get(group, "").split(",") if group in grid else ():
            cfg = compose_config([f"sweep={sweep}", f"experiment={named[0]}", f"{group}={choice}"])
            assert (cfg.run_name, cfg.sweep_name) == (named[0], sweep)
