"""Tests the config that --cfg job prints: each key with its rule, and no other value."""

import yaml
from command import run_main
from conftest import cases

from harness.launch.config.annotated import with_rules


def test_cfg_job_prints_rules_that_change_no_value(monkeypatch, capfd) -> None:
    assert run_main(monkeypatch, "--cfg", "job", "model=mlp", "data=blobs", "seed=3") == 0
    printed = capfd.readouterr().out
    lines = printed.splitlines()
    assert "threads: 1  # a whole number in [1, 1024]" in lines
    assert "  levels: 5  # a whole number in [1, 10000]" in lines
    assert "  grid:  # a list of numbers in (0, 1]" in lines
    assert "rerun: never  # one of never, changed, always" in lines
    config = yaml.safe_load(printed)
    assert (config["seed"], config["threads"], config["model"]["hidden"]) == (3, 1, [32, 32])
    plain = yaml.safe_dump(config, sort_keys=False)
    assert plain.count("#") == 0 and with_rules(plain).count("  # ") == printed.count("  # ") > 30


def test_options_may_stand_behind_overrides(monkeypatch, capfd) -> None:
    printed = []
    for words in (("--cfg", "job", "seed=7", "threads=2"), ("seed=7", "--cfg", "job", "threads=2")):
        assert run_main(monkeypatch, *words) == 0
        printed.append(capfd.readouterr().out)
    assert printed[0] == printed[1] and "seed: 7" in printed[0]


@cases("text", "", "a: [", "- 1\n- 2", "hydra:\n  run: null", "seed: 0  # of no run")
def test_text_that_is_no_config_of_a_run_stays_as_it_is(text) -> None:
    assert with_rules(text) == text
