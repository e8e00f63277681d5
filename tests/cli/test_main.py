"""The command line: what a user gets wrong is one line, and nothing is written."""

import re

import pytest
from command import TINY, only_run, records_of, run_main
from forked_ranks import harness_on_ranks

pytest_plugins = ["refusals"]

WRONG = {
    "saliency=magnitud": r"saliency=magnitud: .*did you mean magnitude",
    "salency=random": r"salency: there is no such key; did you mean saliency",
    "training.epoch=3": r"training.epoch: there is no such key; did you mean training.epochs",
    "+foo=1": r"foo: there is no such key",
    "+training.foo=1": r"training.foo: there is no such key",
    "training@retraining=sgdd": r"training=sgdd: .*did you mean sgd",
    "learning_rate=cosine": r"Did you mean .*learning_rate@training.learning_rate",
    "schedule.final=50": r"schedule.final must be in \(0, 1\].*got 50.*percentage\? write 0.5",
    "schedule.final=0": r"schedule.final must be in \(0, 1\].*got 0",
    "schedule.final=0.5 schedule.unit=compression": r"schedule.final must be at least 1.*got 0.5",
    "schedule=geometric schedule.levels=0": r"schedule.levels must be .* in \[1, 10000\], got 0",
    "schedule=explicit schedule.values=[0.1,0.5]": r"schedule.values must not rise.*0.5 after 0.1",
    "calibration.samples=0": r"calibration.samples must be .*at least 1 or null, got 0; an empty",
    "saliency=gradient calibration.samples=9999": r"calibration.samples=9999.*only 512 training",
    "structure=filter": r"structure=filter has nothing to prune.*use structure=element",
    "data=cifar10 data.root=nowhere": r"data.root=nowhere.*pruning-harness data prepare cifar10",
    "schedule.unit=compression schedule.final=999": r"compression 999 cannot be .*at most",
    "training.optimizer.lr=-1": r"training.optimizer.lr=-1: Invalid learning rate: -1",
    "training.batch_size=0": r"training.batch_size must be .*in \[1, 1000000000\], got 0",
    "method=snip saliency=random": r"method=snip has saliency=weight_gradient",
    "finetune=weight_rewind finetune.epoch=99": r"finetune names epoch 99.*raise training.epochs",
    "prune_at=init finetune=weight_rewind": r"prune_at=init .*cannot rewind to epoch 1",
    "dense_checkpoints=[7]": r"dense_checkpoints names epoch 7",
    "exclude=[fc9]": r"exclude names 'fc9'.*there are: first, last",
    "weights=nowhere.pt": r"weights=nowhere.pt: there is no such file",
    "model=lenet_5": r"lenet_5 needs images",
    "model=python": r"model.target has no value; give model.target=",
    "exclude=last": r"exclude must be a list of text, got 'last'; write it as a list: \[last\]",
    "dense_checkpoints=1": r"dense_checkpoints must be a list of .* >= 0, got 1; .*\[1\]",
    "seed=abc": r"seed must be a whole number, got 'abc'",
    "dtype=int8": r"dtype must be float32 or float64, got 'int8'",
    "threads=0": r"threads must be a whole number in \[1, 1024\], got 0",
    "device=tpu": r"device must be auto, cpu or cuda, got 'tpu'",
    "control=shuffle": r"control must be one of none, random, magnitude, shuffled, reinitialised",
    "control=reinitialised finetune=none": r"control=reinitialised .*Use another finetune",
    "saliency=grasp saliency.batch_norm=train sync_batch_norm=true": r"batch_norm=eval",
    "saliency=grasp allocation=lamp": r"Lamp needs unsigned scores, but",
    "saliency=fpgm": r"structure Element .*structure=attention_head, ffn, filter, group, neur",
    "saliency=bn_scale structure=row schedule.final=0.5": r"needs a BatchNorm .* fc1 alone",
    "saliency=obs saliency.memory_limit_gb=1e-9": r"memory_limit_gb is 1e-09; choose a block",
    "allocation=uniform allocation.min_density=0.5": r"smallest reachable .*is 0.5",
    "schedule.rounds=0": r"schedule.rounds must be .*in \[1, 10000\] or null, got 0; null is what",
    "allocation.budget=flops": r"budget must be params or macs, got 'flops'",
    "tracking=wandb tracking.mode=sometimes": r"tracking.mode must be one of online",
}


@pytest.mark.parametrize("arguments", WRONG, ids=list(WRONG))
def test_wrong_input_is_one_line_with_status_2_and_writes_nothing(arguments, refused) -> None:
    said = refused(*TINY, *arguments.split())
    assert re.search(WRONG[arguments], said), said


def test_a_results_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, capfd) -> None:
    (tmp_path / "file").touch()

    status = run_main(monkeypatch, *TINY, f"output_dir={tmp_path}/file/runs")

    assert status == 2
    assert f"cannot write into {tmp_path}/file/runs" in capfd.readouterr().err


def test_two_ranks_must_divide_the_global_batch(tmp_path) -> None:
    done = harness_on_ranks(2, *TINY, "training.batch_size=33", f"output_dir={tmp_path}/runs")

    ours = [line for line in done.stderr.splitlines() if line.startswith("harness: ")]
    assert done.returncode != 0
    assert ours == [
        "harness: batch_size=33 is the global batch and 2 ranks do not divide it; use 32 or 34"
    ]
    assert not (tmp_path / "runs").exists()


def test_a_sweep_under_torchrun_is_refused(monkeypatch, capfd) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")

    assert run_main(monkeypatch, "-m", *TINY, "seed=0,1") == 2
    assert "Start it without torchrun" in capfd.readouterr().err


def test_parts_without_a_method_name_the_run(tmp_path, monkeypatch) -> None:
    run_main(monkeypatch, *TINY, "saliency=gradient", "prune_at=init", f"output_dir={tmp_path}")

    last = records_of(only_run(tmp_path))[-1]
    assert last.label == "gradient / element / global_ranking / at init"
    assert last.method == "gradient-element-global_ranking-at_init"


def test_a_method_gives_its_label_and_parts(tmp_path, monkeypatch) -> None:
    run_main(monkeypatch, *TINY, "method=snip", f"output_dir={tmp_path}")

    stages = records_of(only_run(tmp_path))
    assert {r.label for r in stages} == {"SNIP"}
    assert [r.stage for r in stages] == ["initial", "pruned", "finetuned"]


def test_a_run_whose_parts_are_a_methods_has_its_name(tmp_path, monkeypatch) -> None:
    run_main(monkeypatch, *TINY, "saliency=random", f"output_dir={tmp_path}")

    assert records_of(only_run(tmp_path))[-1].label == "Random"


def test_a_setting_that_a_method_fixes_must_not_be_changed_under_its_name(
    tmp_path, monkeypatch, capfd
) -> None:
    lenet = ("model=lenet_5", "data=mnist5k", "structure.pool_by=mean", f"output_dir={tmp_path}")

    assert run_main(monkeypatch, *TINY, "method=l1_filters", *lenet) == 2
    assert "method=l1_filters has structure.pool_by=sum" in capfd.readouterr().err


def test_a_part_without_what_its_group_needs_is_named(tmp_path, monkeypatch, capfd) -> None:
    (tmp_path / "bare.py").write_text("class Bare:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    target = ("saliency=weight_gradient", "~saliency.batch_norm", "saliency._target_=bare.Bare")

    assert run_main(monkeypatch, *TINY, *target, f"output_dir={tmp_path}") == 2
    assert "saliency: Bare has no granularity; every saliency has" in capfd.readouterr().err


def test_a_batch_of_one_sample_is_refused_before_training_where_batch_norm_needs_two(
    tmp_path, monkeypatch, capfd
) -> None:
    odd = ("data.train=513", f"output_dir={tmp_path}/runs")

    assert run_main(monkeypatch, *TINY, *odd) == 0
    assert run_main(monkeypatch, *TINY, *odd, "model.batch_norm=true") == 2
    assert "leaves a batch or part of one sample of 513" in capfd.readouterr().err


def test_two_ranks_print_and_write_once(tmp_path) -> None:
    done = harness_on_ranks(2, *TINY, "tracking=wandb", f"output_dir={tmp_path}")

    folder = only_run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finetuned") == done.stdout.count("finished: ") == 1
    assert len(records_of(folder)) == 3
    assert len(list((folder / "wandb").glob("offline-run-*"))) == 1


def test_a_run_says_what_memory_a_second_order_saliency_takes(tmp_path, monkeypatch, capfd) -> None:
    for progress, said in (("plain", True), ("none", False)):
        overrides = (*TINY, "saliency=woodfisher", "schedule.final=0.5", f"progress={progress}")
        assert run_main(monkeypatch, *overrides, f"output_dir={tmp_path}/{progress}") == 0
        # Once, though it is checked before the training and again at the pruning.
        lines = capfd.readouterr().err.count("harness: saliency woodfisher needs up to")
        assert lines == said


@pytest.mark.parametrize("action", ["plan", "retry_failed"])
def test_an_action_of_sweeps_is_refused_for_one_run(action, tmp_path, monkeypatch, capsys) -> None:
    said = (*TINY, f"launch.action={action}", f"output_dir={tmp_path}/runs")
    assert run_main(monkeypatch, *said) == 2
    assert f"launch.action={action} is for sweeps: start it with -m" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
