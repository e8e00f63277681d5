"""Names models, data sets and methods so that different settings have different names."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from harness.report.read.folders import Facts, flat, hashed_config, inside
from harness.run_folder.identity import setting_config
from harness.system.names import printable

Flat = Mapping[str, str]
_PARTS = ("model", "data")
_DIGITS = 8  # of a digest in a name
_ENDING = re.compile(r"(?P<rest>.*\S)(?P<ending> / [^/]+| \([^()]*\)| \[[^\[\]]*\])", re.DOTALL)


def with_distinct_parts(records: pd.DataFrame, runs: Path) -> tuple[pd.DataFrame, list[str]]:
    """Gives models, and data sets, that share a name and differ in settings a name each.

    The settings that tell them apart follow the name: "mlp (hidden=[64])". They are read from
    identity.json; a run without it keeps the name. recorded_model and recorded_data are the names
    before that.
    """
    firsts = records.sort_values("folder", kind="stable").drop_duplicates("setting")
    folders = zip(firsts["setting"], firsts["folder"], strict=True)
    configs = {setting: hashed_config(runs / folder) for setting, folder in folders}
    notes, names = [], records[list(_PARTS)].copy()
    for part in _PARTS:
        for name, same in records.groupby(part):
            own = {key: _of_part(configs[key], part) for key in dict.fromkeys(same["setting"])}
            endings = endings_of({key: flat for key, flat in own.items() if flat})
            if not any(endings.values()):
                continue
            names.loc[same.index, part] = [
                f"{name}" + endings.get(key, "") for key in same["setting"]
            ]
            shown = ", ".join(sorted({f"{name}{ending}" for ending in endings.values()}))
            notes.append(f"{part}={name} ran with several settings: {shown}")
    recorded = {f"recorded_{part}": records[part] for part in _PARTS}
    return records.assign(**recorded, **{part: names[part] for part in _PARTS}), notes


def _of_part(config: Facts, part: str) -> Flat:
    own = flat({key: value for key, value in inside(config, part).items() if key != "seed"})
    digest = config.get("data_sha256") if part == "data" else None
    return own | ({"content": str(digest)[:_DIGITS]} if own and digest else {})


def with_distinct_labels(rows: pd.DataFrame, runs: Path) -> tuple[pd.DataFrame, list[str]]:
    """Makes each label name one setting; the notes name a run with each setting.

    What tells them apart follows the label: keys of the config, as in "SNIP (retraining.epochs=2)",
    or the start of the setting's hash where no identity.json tells them. An ending that all labels
    share is dropped. recorded_label is the label before that.
    """
    notes, labels = [], rows["label"].copy()
    for (model, data, label), same in rows.groupby([*_PARTS, "label"]):
        least = same.groupby("setting")["folder"].min()
        firsts = {str(setting): str(folder) for setting, folder in least.items()}
        if len(firsts) > 1:
            endings = _of_settings(firsts, runs)
            labels[same.index] = [f"{label}" + endings[setting] for setting in same["setting"]]
            shown = ", ".join(f"{endings[key][1:]} as in {firsts[key]}" for key in sorted(firsts))
            notes.append(f"{label} on {model}, {data} ran with several settings: {shown}")
    short = without_shared_ending(sorted(set(labels)))
    if dropped := [label for label in short if label != short[label]]:
        ending = dropped[0].removeprefix(short[dropped[0]])
        notes.append(f"all labels end in {ending!r}, which is not shown")
    return rows.assign(recorded_label=rows["label"], label=labels.map(short)), notes


def _of_settings(firsts: Mapping[str, str], runs: Path) -> dict[str, str]:
    configs = {key: _of_method(hashed_config(runs / firsts[key])) for key in sorted(firsts)}
    endings = endings_of(configs) if all(configs.values()) else {}
    if len(set(endings.values())) == len(firsts):
        return endings
    digits = _digits_that_differ(list(configs))
    return {setting: f" [{setting[:digits]}]" for setting in configs}


def _of_method(config: Facts) -> Flat:
    """Returns the keys of a setting without model and data, which have names of their own."""
    kept = {key: value for key, value in config.items() if key not in (*_PARTS, "data_sha256")}
    weights = {"weights": str(config["weights"])[:_DIGITS]} if "weights" in config else {}
    return flat(setting_config(kept | weights))


def endings_of(configs: Mapping[str, Flat]) -> dict[str, str]:
    """Returns a text per setting with so few keys that settings which differ have other texts.

    >>> endings_of({"a": {"lr": "0.1", "epochs": "2"}, "b": {"lr": "0.2", "epochs": "2"}})
    {'a': ' (lr=0.1)', 'b': ' (lr=0.2)'}
    >>> endings_of({"a": {"penalty._target_": "mine.L1", "penalty.strength": "1"}, "b": {}})
    {'a': ' (penalty=L1)', 'b': ' (penalty=null)'}
    """
    keys = list(dict.fromkeys(key for config in configs.values() for key in config))

    def kinds(names: Sequence[str]) -> int:
        return len({tuple(map(config.get, names)) for config in configs.values()})

    taken = list[str]()
    while kinds(taken) < kinds(keys):
        # Of keys that tell apart as many, the most general: few dots, and the class of a part.
        taken.append(max(keys, key=lambda key: (kinds([*taken, key]), *_generality(key))))
    shown = sorted(taken, key=keys.index)
    return {name: _text({key: of.get(key) for key in shown}) for name, of in configs.items()}


def _generality(key: str) -> tuple[int, bool]:
    return -key.removesuffix("._target_").count("."), key.endswith("_target_")


def _text(settings: Mapping[str, str | None]) -> str:
    texts = [_setting(key, "null" if value is None else value) for key, value in settings.items()]
    return printable(f" ({', '.join(texts)})") if texts else ""


def _setting(key: str, value: str) -> str:
    if not key.endswith("_target_"):
        return f"{key}={value}"
    part, name = key.removesuffix("_target_").rstrip("."), value.rpartition(".")[2]
    return f"{part}={name}" if part else name


def _digits_that_differ(settings: list[str]) -> int:
    longest = max(map(len, settings))
    return next(
        (n for n in range(4, longest) if len({key[:n] for key in settings}) == len(settings)),
        longest,
    )


def without_shared_ending(labels: Sequence[str]) -> dict[str, str]:
    """Returns each label without the ending that all have, where there are several labels.

    An ending is what follows " / ", or stands in brackets.

    >>> without_shared_ending(["magnitude / row / uniform", "random / row / uniform"])
    {'magnitude / row / uniform': 'magnitude', 'random / row / uniform': 'random'}
    >>> without_shared_ending(["SNIP (lr_rewind)", "Random (lr_rewind)", "Random"])["Random"]
    'Random'
    """
    short = {label: label for label in labels}
    while len(short) > 1:
        parts = [_ENDING.fullmatch(label) for label in short.values()]
        if None in parts or len({part["ending"] for part in parts if part}) > 1:
            break
        short = {label: part["rest"] for label, part in zip(short, parts, strict=True) if part}
    return short
