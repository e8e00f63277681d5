"""Models, data sets and methods with one name and several settings are told apart in words."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from survey_records import dense, make, pruned, write_run

from harness.report.page.run_details import details
from harness.report.protocol import lint
from harness.report.read import folders
from harness.report.read.load import load
from harness.report.read.setting_names import endings_of, without_shared_ending
from harness.report.significance.compare import cells

MLP = {"_target_": "harness.models.mlp.Mlp", "hidden": [32, 32]}
CONFIG = {"model": MLP, "data": {"_target_": "mine.Set", "seed": 0}, "data_sha256": "aa" * 32}
KEYS = ("retraining.epochs", "retraining.optimizer._target_", "retraining.optimizer.lr")


def write(folder: Path, setting: str, config: dict[str, Any], **changes: Any) -> None:
    same = {"setting": setting, "model": "mlp", **changes}
    write_run(folder, dense(**same), make(**same))
    identity = {"hashed_config": {**CONFIG, **config}}
    (folder / "identity.json").write_text(json.dumps(identity))


def titles(runs: Path) -> list[str]:
    return [section.title for section in load(runs).sections()]


def test_two_settings_of_one_model_are_two_sections_named_by_what_differs(tmp_path) -> None:
    write(tmp_path / "a", "aaaa1", {})
    write(tmp_path / "b", "bbbb1", {"model": {**MLP, "hidden": [64]}})
    survey = load(tmp_path)
    assert titles(tmp_path) == ["mlp (hidden=[32, 32]) on digits", "mlp (hidden=[64]) on digits"]
    assert survey.labels() == ["SNIP"] and set(survey.results["label"]) == {"Dense", "SNIP"}
    assert any(note.startswith("model=mlp ran with several settings: ") for note in survey.notes)


def test_an_unchanged_identity_is_read_once(tmp_path, monkeypatch) -> None:
    write(tmp_path / "a", "aaaa1", {})
    write(tmp_path / "b", "bbbb1", {"model": {**MLP, "hidden": [64]}})
    files, read = list[Path](), folders._read
    monkeypatch.setattr(folders, "_read", lambda file: files.append(file) or read(file))
    for _ in range(2):
        survey = load(tmp_path)
        lint.check(survey)
        made = details(tmp_path, tmp_path / "report", survey.results["folder"].unique())
        assert made["runs"]["b"]["own"]["model.hidden"] == "[64]"
    assert sorted(file for file in files if file.name == "identity.json") == [
        tmp_path / "a/identity.json", tmp_path / "b/identity.json",
    ]  # fmt: skip

    changed = {"hashed_config": {**CONFIG, "model": {**MLP, "hidden": [128]}}}
    (tmp_path / "b/identity.json").write_text(json.dumps(changed))
    assert "mlp (hidden=[128]) on digits" in titles(tmp_path)


def test_equal_names_of_other_bytes_or_classes_are_other_data(tmp_path) -> None:
    write(tmp_path / "a", "aaaa1", {})
    write(tmp_path / "b", "bbbb1", {"data_sha256": "bb" * 32})
    assert titles(tmp_path) == [f"mlp on digits (content={x * 8})" for x in "ab"]
    other = {"_target_": "theirs.Other", "seed": 7}
    write(tmp_path / "c", "cccc1", {"data": other, "data_sha256": "cc" * 32})
    assert len(set(titles(tmp_path))) == 3


def test_published_results_are_asked_for_by_the_recorded_name_of_data(tmp_path) -> None:
    known = {"model_published_as": "lenet_300_100", "data_published_as": "mnist5k"}
    write(tmp_path / "a", "aaaa1", {}, **known, data="mnist5k")
    write(tmp_path / "b", "bbbb1", {"data_sha256": "bb" * 32}, **known, data="mnist5k")
    shown = load(tmp_path, published_for={"mnist5k": "mnist"}).published
    assert shown["data"].nunique() == 2 and shown["label"].str.endswith("on mnist").all()


def test_the_seed_of_a_data_set_and_a_run_without_config_split_nothing(tmp_path) -> None:
    write(tmp_path / "a", "aaaa1", {})
    write(tmp_path / "b", "bbbb1", {"data": {"_target_": "mine.Set", "seed": 1}}, label="GraSP")
    write_run(tmp_path / "c", make(setting="cccc1", model="mlp", label="Random"))
    assert titles(tmp_path) == ["mlp on digits"]


def test_settings_of_one_method_are_named_by_their_keys_not_by_a_hash(tmp_path) -> None:
    for number, epochs in enumerate((10, 20)):
        more = {"retraining": {"epochs": epochs}, "schedule": {"final": number + 2.0}, "seed": 5}
        write(tmp_path / str(number), f"{number}{number}", more)
    survey = load(tmp_path)
    # The end point differs too, but it is no part of a setting.
    assert survey.labels() == ["SNIP (retraining.epochs=10)", "SNIP (retraining.epochs=20)"]
    (note,) = [note for note in survey.notes if "several settings" in note]
    assert "(retraining.epochs=10) as in 0, (retraining.epochs=20) as in 1" in note


def test_few_general_keys_tell_settings_apart() -> None:
    values = [("1", "torch.optim.SGD", "0.1"), ("1", "torch.optim.Adam", "0.001")]
    configs = {str(n): dict(zip(KEYS, row, strict=True)) for n, row in enumerate(values)}
    assert list(endings_of(configs).values()) == [
        " (retraining.optimizer=SGD)",
        " (retraining.optimizer=Adam)",
    ]
    configs["2"] = {**configs["1"], KEYS[2]: "0.01"}
    assert len(set(endings_of(configs).values())) == 3
    assert endings_of({"a": {"x": "1"}, "b": {"x": "1"}}) == {"a": "", "b": ""}


def test_an_ending_that_all_labels_share_is_dropped_once_and_told(tmp_path) -> None:
    for number, name in enumerate(("magnitude", "random")):
        label = f"{name} / row / uniform (lr_rewind)"
        write(tmp_path / name, f"{number}", {}, label=label, top1=0.8 + 0.1 * number)
    survey = load(tmp_path, against="random / row / uniform (lr_rewind)")
    assert survey.labels() == ["magnitude", "random"] and survey.against == "random"
    (note,) = [note for note in survey.notes if "all labels" in note]
    assert note == "all labels end in ' / row / uniform (lr_rewind)', which is not shown"


def test_an_ending_stays_where_one_label_lacks_it_or_is_alone() -> None:
    for labels in (["A (x)", "B"], ["A (x)"], ["A (x)", "B (y)"], ["(x)", "A (x)"]):
        assert without_shared_ending(labels) == {label: label for label in labels}


def test_folders_are_compared_whatever_names_a_report_gives_them(tmp_path) -> None:
    other = {"model": {**MLP, "hidden": [64]}}
    for runs in (tmp_path / "a", tmp_path / "b"):
        write(runs / "0", "aaaa1", {}, label="SNIP (lr_rewind)", run="00")
    write(tmp_path / "a" / "1", "bbbb1", other, label="Random (lr_rewind)", run="11")
    table = cells(load(tmp_path / "a"), load(tmp_path / "b"))
    both = table[table["side"] == "both"]
    assert both["label"].tolist() == ["Dense", "SNIP (lr_rewind)"]
    assert pd.unique(both["model"]).tolist() == ["mlp (hidden=[32, 32])"]
    assert set(pruned(load(tmp_path / "a"))["label"]) == {"SNIP", "Random"}
