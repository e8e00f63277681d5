"""Parts that fit and parts that do not, where a run would otherwise show something else."""

from pathlib import Path

import pytest
from command import TINY, only_run, records_of, run_main
from whole_runs import BATCH_NORM, whole_run

from harness.launch.compose import compose_config
from harness.launch.execute import build
from harness.run_folder.records import Record


def refusal(*overrides: str) -> str:
    with pytest.raises(Exception, match=".") as error:
        build(compose_config([*TINY, *overrides]))
    return str(error.value.__cause__)


@pytest.mark.parametrize("saliency", ["obs", "woodfisher", "sparsegpt"])
def test_a_penalty_that_settles_what_goes_refuses_weights_that_move_then(saliency) -> None:
    wanted = (f"saliency={saliency}", "penalty=growing_l2")
    assert f"saliency={saliency} changes weights while pruning" in refusal(*wanted)
    assert build(compose_config([*TINY, *wanted, "saliency.update_weights=false"])).penalty


def test_a_penalty_that_settles_what_goes_sees_the_curves_of_sensitivity(tmp_path) -> None:
    whole = whole_run(tmp_path, "penalty=growing_l2", "allocation=sensitivity")
    assert [stage for _, stage in whole.stages] == ["dense", "penalised", "pruned", "finetuned"]
    assert whole.record(1, "pruned").density == 0.5


def test_a_student_of_an_untrained_network_is_refused() -> None:
    assert "leaves it untrained. Raise" in refusal("distillation=hinton", "training.epochs=0")


def test_a_last_batch_of_one_sample_of_all_there_are_is_refused(tmp_path, monkeypatch, capfd):
    few = ("data.train=129", "recalibration=batch_norm", BATCH_NORM, "training.batch_size=43")
    overrides = (*TINY, *few, "retraining.batch_size=43", f"output_dir={tmp_path / 'runs'}")
    assert run_main(monkeypatch, *overrides) == 2
    assert (
        "recalibration.batch_size=128 leaves a last batch of one of 129" in capfd.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


def recorded(monkeypatch: pytest.MonkeyPatch, runs: Path, *overrides: str) -> list[Record]:
    assert run_main(monkeypatch, *TINY, *overrides, f"output_dir={runs}") == 0
    return records_of(only_run(runs))


def test_only_its_own_schedule_is_called_ac_dc(tmp_path, monkeypatch) -> None:
    steps = ("prune_at=during_training", "gradual.interval=1", "gradual.last_step=2")
    gradual = recorded(monkeypatch, tmp_path / "cubic", *steps, "schedule=cubic")[-1]
    alternating = recorded(monkeypatch, tmp_path / "ac_dc", *steps, "schedule=ac_dc")
    assert (gradual.label, alternating[-1].label) == (
        "magnitude / element / global_ranking / while training", "AC/DC"
    )  # fmt: skip
    # Pruned before step 0, dense from step 1, where the optimizer is cleared, compressed at last.
    found = [record.optimizer_state for record in alternating]
    assert found == ["", "", "reset", "kept"]


def test_a_target_says_that_it_counts_multiply_accumulates(tmp_path, monkeypatch) -> None:
    speedup = ("schedule.unit=speedup", "schedule.final=4")
    last = recorded(monkeypatch, tmp_path / "one", *speedup)[-1]
    plain = recorded(monkeypatch, tmp_path / "other", "schedule.final=0.25")[-1]
    assert (last.requested_counts, last.requested_compression, last.speedup) == ("macs", 4.0, 4.0)
    assert (plain.requested_counts, plain.requested_density) == ("parameters", 0.25)


def test_masks_keep_what_a_grown_weight_that_never_learns_does_not(tmp_path, monkeypatch) -> None:
    wanted = (
        "method=set",
        "mask_updates.update_interval=2",
        "mask_updates.stop_fraction=1",
        "schedule.final=0.1",
    )
    last = recorded(monkeypatch, tmp_path, *wanted, "retraining.epochs=3")[-1]
    assert last.density_of_masks == pytest.approx(141 / 1408)
    assert last.density <= last.density_of_masks


def test_a_group_is_switched_off_by_null(tmp_path, monkeypatch) -> None:
    records = recorded(monkeypatch, tmp_path, "mask_updates=null", "penalty=null")
    assert records[-1].label == "Global Magnitude"


def test_a_key_of_a_group_of_which_nothing_is_chosen_says_so(tmp_path, monkeypatch, capfd) -> None:
    assert run_main(monkeypatch, *TINY, "penalty.epochs=2", f"output_dir={tmp_path}") == 2
    said = capfd.readouterr().err
    assert "penalty.epochs: no penalty is chosen; add penalty=NAME" in said
