"""Tests what a run is called: by its method, what it adds to the method, and its control."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import CONF, cases
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from harness.launch.method_name import EXTRAS, method_name

MAGNITUDE = {"saliency": "magnitude", "structure": "element", "allocation": "global_ranking"}
CHOICES = {**MAGNITUDE, "method": "global_magnitude", "finetune": "keep"}
CONFIG = {"prune_at": "after_training", "control": "none", "rescore_trained": False}

FILES = {
    "global_magnitude": "Global Magnitude",
    "rigl": "RigL",
    "rewound": "Rewound",
    "slimming": "Slimming",
}
FIXED = {"rigl": ("mask_updates", "rigl"), "rewound": ("finetune", "weight_rewind")}


@pytest.fixture(name="methods")
def fixture_methods(tmp_path) -> Path:
    """Returns a folder of methods that fix all four of global magnitude's parts.

    Each but the first fixes one thing more.
    """
    (tmp_path / "method").mkdir()
    for name, label in FILES.items():
        parts = MAGNITUDE | dict([FIXED[name]] if name in FIXED else [])
        own = {
            "defaults": [{f"override /{group}": choice} for group, choice in parts.items()],
            "method": {"label": label},
            **({"penalty": {"strength": 0.1}} if name == "slimming" else {}),
            **({} if name == "rewound" else {"prune_at": "after_training"}),
        }
        if name == "slimming":
            own["defaults"].append({"override /penalty": "bn_l1"})
        OmegaConf.save(own, tmp_path / "method" / f"{name}.yaml")
    return tmp_path


def named(conf: Path, config: dict[str, Any] | None = None, **choices: str) -> tuple[str, str]:
    """Returns the name and label of the method that these choices name or compose."""
    hydra: Any = SimpleNamespace(
        overrides=SimpleNamespace(task=[f"{k}={v}" for k, v in choices.items()]),
        runtime=SimpleNamespace(
            config_sources=[SimpleNamespace(schema="file", provider="main", path=str(conf))]
        ),
    )
    return method_name(CHOICES | choices, CONFIG | (config or {}), hydra)


def test_the_plain_case_has_the_bare_name(methods) -> None:
    bare = ("global_magnitude", "Global Magnitude")
    nothing = dict.fromkeys(("mask_updates", "distillation", "penalty", "recalibration"), "None")
    assert named(methods) == named(methods, **nothing) == bare
    assert named(methods, method="global_magnitude", **nothing) == bare


@cases(
    "choices, label",
    ({"finetune": "lr_rewind"}, "Global Magnitude (lr_rewind)"),
    ({"finetune": "rewind_to_init"}, "Global Magnitude (rewind_to_init)"),
    ({"finetune": "none"}, "Global Magnitude (no finetune)"),
    ({"mask_updates": "soft"}, "Global Magnitude (keep, soft)"),
    ({"distillation": "hinton"}, "Global Magnitude (keep, hinton)"),
    ({"penalty": "l1"}, "Global Magnitude (keep, l1)"),
    ({"recalibration": "batch_norm"}, "Global Magnitude (keep, batch_norm)"),
    (
        {"finetune": "reinit", "distillation": "hinton", "penalty": "l1"},
        "Global Magnitude (reinit, hinton, l1)",
    ),
)
@cases("asked", {}, {"method": "global_magnitude"})
def test_what_is_not_plain_is_said_in_brackets(choices, label, asked, methods) -> None:
    assert named(methods, **asked, **choices)[1] == label


def test_the_name_says_it_too_without_spaces_or_brackets(methods) -> None:
    assert named(methods, finetune="lr_rewind")[0] == "global_magnitude-lr_rewind"
    assert named(methods, distillation="hinton")[0] == "global_magnitude-keep-hinton"
    assert named(methods, finetune="none")[0] == "global_magnitude-no_finetune"


def test_no_two_combinations_of_extras_share_a_name_or_label(methods) -> None:
    values = {group: ["None", f"a_{group}"] for group in EXTRAS} | {"finetune": ["keep", "reinit"]}
    found = set()
    for number in range(2 ** len(values)):
        picked = {group: two[number >> bit & 1] for bit, (group, two) in enumerate(values.items())}
        found |= set(named(methods, **picked))
    assert len(found) == 2 * 2 ** len(values)


@cases(
    "choices, bare",
    ({"mask_updates": "rigl"}, ("rigl", "RigL")),
    ({"finetune": "weight_rewind"}, ("rewound", "Rewound")),
)
def test_a_run_with_what_a_method_fixes_has_its_bare_name(choices, bare, methods) -> None:
    assert named(methods, **choices) == bare
    assert named(methods, method=bare[0], **choices) == bare


def test_a_method_that_does_not_say_when_prunes_after_training(methods) -> None:
    _, label = named(methods, {"prune_at": "init"}, finetune="weight_rewind")
    assert label == "magnitude / element / global_ranking / at init (weight_rewind)"


def test_a_method_is_named_for_all_that_it_fixes_of_a_group(methods) -> None:
    own = {"penalty": {"strength": 0.1}}
    assert named(methods, own, penalty="bn_l1") == ("slimming", "Slimming")
    other = {"penalty": {"strength": 0.2}}
    assert named(methods, other, penalty="bn_l1")[1] == "Global Magnitude (keep, bn_l1)"


def test_what_a_method_leaves_open_is_said_beside_what_it_fixes(methods) -> None:
    assert named(methods, mask_updates="rigl", recalibration="batch_norm") == (
        "rigl-keep-batch_norm",
        "RigL (keep, batch_norm)",
    )
    both = named(methods, finetune="weight_rewind", distillation="hinton")
    assert both == ("rewound-hinton", "Rewound (hinton)")


def test_a_method_asked_for_by_name_keeps_its_name_where_another_says_more(methods) -> None:
    found = named(methods, method="global_magnitude", mask_updates="rigl")
    assert found == ("global_magnitude-keep-rigl", "Global Magnitude (keep, rigl)")


@cases("mask_updates, said", ("None", "None"), ("soft", "soft"))
def test_a_method_asked_for_without_what_it_fixes_is_refused(mask_updates, said, methods) -> None:
    with pytest.raises(
        ValueError, match=f"method=rigl has mask_updates=rigl, but mask_updates={said} is"
    ):
        named(methods, method="rigl", mask_updates=mask_updates)


def test_a_group_that_hydra_does_not_list_was_not_chosen(methods) -> None:
    with pytest.raises(ValueError, match="mask_updates=rigl, but mask_updates=None is requested"):
        named(methods, method="rigl")


@cases(
    "prune_at, end",
    ("after_training", ""),
    ("init", " / at init"),
    ("during_training", " / while training"),
)
def test_parts_of_no_method_are_named_with_the_time_of_pruning(prune_at, end, methods) -> None:
    name, label = named(methods, {"prune_at": prune_at}, saliency="gradient", distillation="hinton")
    assert label == f"gradient / element / global_ranking{end} (keep, hinton)"
    assert name == label.replace(" / ", "-").replace(" (keep, ", "-keep-")[:-1].replace(" ", "_")


def test_the_control_comes_last(methods) -> None:
    found = named(methods, {"control": "random"}, finetune="lr_rewind")
    assert found == ("global_magnitude-lr_rewind-random", "Global Magnitude (lr_rewind) (random)")
    plain = named(methods, {"control": "random"})
    assert plain == ("global_magnitude-random", "Global Magnitude (random)")


@cases(
    "overrides, label",
    ([], "Global Magnitude"),
    (["finetune=rewind_to_init"], "Global Magnitude (rewind_to_init)"),
    (["method=snip", "finetune=none"], "SNIP (no finetune)"),
    (["experiment=lottery_ticket"], "Lottery Ticket"),
    (["method.label=Ours", "saliency=random"], "Ours"),
    (["method=snip", "method.label='Ours, $\\lambda$'", "finetune=none"], r"Ours, $\lambda$"),
    (["method=snip", "method.label=null"], "SNIP"),
)
def test_choices_of_hydra_are_read_as_the_command_line_does(overrides, label) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides, return_hydra_config=True)
    choices = {str(group): str(name) for group, name in cfg.hydra.runtime.choices.items()}
    config: Any = OmegaConf.to_container(
        OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]), resolve=False
    )
    assert method_name(choices, config, cfg.hydra)[1] == label


@cases("label", 3, " ", "two\nlines", ["Ours"])
def test_a_label_that_is_no_text_of_one_line_is_refused(label, methods) -> None:
    with pytest.raises(ValueError, match="method.label must be a text of one line, or null, got"):
        named(methods, {"method": {"label": label}})


def test_an_own_part_of_a_seam_without_components_is_said_before_the_control(methods) -> None:
    order = {"_target_": "own.BlockByBlock"}
    found = named(methods, {"pruning_order": order, "control": "random"})
    plain = named(methods, {"pruning_order": None})
    assert found == (f"{plain[0]}-BlockByBlock-random", f"{plain[1]} (BlockByBlock) (random)")
