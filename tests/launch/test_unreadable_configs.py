"""A config file of the user that cannot be read is one line with its name, before anything is."""

import pytest
from command import TINY
from conftest import cases

from harness.launch.compose import nulls_as_deletions
from harness.launch.config.own_files import check_headers, fault_of_configs

pytest_plugins = ["refusals"]

FAULTS = (
    (b"a: 1\na: 2\n", "own.yaml, line 2: found duplicate key a; mend the YAML there"),
    (b"a: [1\n", "own.yaml, line 2: expected ',' or ']', but got '<stream end>'"),
    (b"a:\n\tb: 1\n", r"own.yaml, line 2: found character '\t' that cannot start any token"),
    (b"a: \xff\xfe\n", "own.yaml: byte 3 is no UTF-8; save the file as UTF-8"),
    (b"a: \x00\n", "own.yaml: unacceptable character #x0000"),
    (b"5\n", "own.yaml: Invalid loaded object type: int; a config holds keys and values"),
    (b"a: " + b"[" * 400 + b"]" * 400, "own.yaml: it is nested too deeply"),
    (b"defaults: [own]\n", "own.yaml: its defaults lead back to itself: saliency/own <- saliency"),
    (b"defaults: [/saliency: own]\n", "defaults lead back to itself: saliency/own <- saliency/own"),
    (b"defaults: [{override /saliency@x: [magnitude, own]}]\n", "defaults lead back to itself"),
)


def written(folder, content: bytes) -> str:
    (folder / "saliency").mkdir()
    (folder / "saliency" / "own.yaml").write_bytes(content)
    return f"--config-dir={folder}"


@cases("content, says", *FAULTS)
def test_the_fault_is_told_with_its_file(content, says, tmp_path) -> None:
    assert says in (fault_of_configs([written(tmp_path, content)]) or "")


def test_files_that_can_be_read_have_no_fault(tmp_path) -> None:
    given = written(tmp_path, b"defaults: [magnitude, _self_]\nnorm: l2\n")
    assert fault_of_configs([given]) is None
    assert fault_of_configs([f"hydra.searchpath=[file://{tmp_path}]", "seed=1"]) is None


@pytest.mark.parametrize("content", [FAULTS[0][0], FAULTS[3][0], FAULTS[7][0], FAULTS[5][0]])
def test_a_command_ends_with_this_line(content, tmp_path_factory, refused) -> None:
    given = written(tmp_path_factory.mktemp("configs"), content)
    assert "own.yaml" in refused(given, "saliency=own")


@cases("group", "method", "experiment", "sweep")
def test_a_file_of_the_whole_config_begins_by_saying_so(group, tmp_path_factory, refused) -> None:
    folder = tmp_path_factory.mktemp("configs")
    file = folder / group / "mine.yaml"
    file.parent.mkdir()
    parts = "defaults:\n  - override /saliency: random\nmethod: {label: Mine}\n"
    file.write_text(f"# Mine.\n{parts}# @package _global_\n")
    said = refused(f"--config-dir={folder}", f"{group}=mine", *TINY)
    assert f"{file}: without its first line it would set keys inside of {group}; write" in said
    assert said.endswith("write as the first line: # @package _global_")
    file.write_text(f"# @package _global_\n# Mine.\n{parts}")
    check_headers([folder])


@cases("content", "defaults: [override /saliency: random]\nmethod: {}\n", "method: {label: Mine}\n")
def test_a_method_without_parts_or_label_is_told_with_its_file(
    content, tmp_path_factory, refused
) -> None:
    folder = tmp_path_factory.mktemp("configs")
    (folder / "method").mkdir()
    (folder / "method" / "mine.yaml").write_text(f"# @package _global_\n{content}")
    said = refused(f"--config-dir={folder}", "method=mine", *TINY)
    assert "mine.yaml: a method chooses parts and has a label; write defaults: [override " in said


@cases(
    "wrong, says",
    ("~training", "training.epochs: another override removes this key, or what holds it"),
    ("~model", "model is missing; give it a value, and leave out what removes it"),
    ("retraining=sgd", "retraining must be a mapping with _target_, got 'sgd'; write training@r"),
    ("training.lr=0.1", "training.lr: there is no such key; did you mean training.optimizer.lr?"),
    ("structure=filter structure.pool=l2", "did you mean structure.pool_by or structure.pool_over"),
    ("model=lenet_5 model.width=2", "model.width: there is no such key; --cfg job lists all keys"),
    ("lr=abc", "lr: there is no such key; did you mean training.optimizer.lr or retraining.optim"),
    (
        "hydra.launcher.n_jobs=abc",
        "hydra.launcher.n_jobs must be a whole number in [1, 1024] or -1",
    ),
    ("hydra/launcher=slurm hydra.launcher.nodes=0", "hydra.launcher.nodes must be a whole number"),
    (
        "output_dir=",
        "output_dir must be text of 1 to 4096 characters, got ''; write a folder, e.g.",
    ),
    ("schedule.final=${nope}", "schedule.final: Interpolation key 'nope' not found"),
    ("saliency._target_=5", "saliency._target_ must be text, got 5; write the path of a class"),
    ("model.hidden=[] structure=row", "structure=row has nothing to prune"),
    ("training.optimizer.betas=[0.9]", "training.optimizer.betas must be a list of 2 numbers"),
    (
        "experiment=lottery_ticket schedule=one_shot",
        "schedule.levels: the chosen schedule has no such key; where an experiment sets it, add ~s",
    ),
    ("launch.only=foo", "launch.only: there is no such key"),
)
def test_a_key_that_is_not_there_is_told_with_the_right_one(wrong, says, refused) -> None:
    assert says in refused(*TINY, *wrong.split())


def test_a_sweep_over_nothing_is_refused(refused) -> None:
    said = refused("-m", *TINY, "seed=range(0,0)", "hydra.launcher.n_jobs=1")
    assert "seed=range(0,0): it names no value; write e.g. range(0,3) or 0,1" in said


@pytest.mark.parametrize("group", ["model", "data", "training@retraining"])
def test_null_is_refused_for_a_group_without_which_there_is_no_run(group) -> None:
    with pytest.raises(ValueError, match=f"{group}=null: a run needs a .*; there are: .*, "):
        nulls_as_deletions([f"{group}=null"])


def test_an_optional_group_may_be_null_also_where_it_is_by_default() -> None:
    assert nulls_as_deletions(["method=null", "weights=null"]) == ["~method", "weights=null"]
