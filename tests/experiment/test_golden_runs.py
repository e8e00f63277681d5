"""Tiny runs whose masks and counts are frozen: what a change of code must not change unnoticed.

Losses and accuracies depend on the CPU. These masks do not: weights are float64, so that what
separates the last that stays from the first that goes is some million times what CPUs differ by.
A digest that changes on purpose is changed here, and the commit says why.
"""

from pathlib import Path

import pytest
from forked_ranks import on_ranks
from silent import ME, Silent

from harness.distributed import Ranks
from harness.experiment import runner
from harness.experiment.recorder import Recorder
from harness.launch.compose import composed
from harness.launch.execute import build

TINY = (
    "data=blobs model=mlp training.epochs=2 retraining.epochs=1 calibration.samples=64 "
    "sensitivity.grid=[0.1,0.5] schedule=one_shot tracking=none dtype=float64 seed=3"
)
TWO_LEVELS = "schedule=geometric schedule.levels=2 schedule.final"
GROWING = "schedule.final=0.4 retraining.epochs=3 dynamics.every=2"
TRANSFORMER = (
    "task=language_modelling data._target_=parts.Letters data.classes=7 data.features=12 "
    "model=char_transformer model.width=8 model.heads=2 model.depth=1"
)

# What is asked for; then of each record level, stage, digest of the masks, parameters and MACs.
RUNS = {
    "two levels, rewound": (
        f"method=global_magnitude finetune=weight_rewind {TWO_LEVELS}=0.3",
        "0 dense - 1476 1408",
        "1 pruned 985eff9c05a509c5 839 771",
        "1 finetuned 985eff9c05a509c5 839 771",
        "2 pruned 646720ac4d8ae317 490 422",
        "2 finetuned 646720ac4d8ae317 490 422",
    ),
    "RigL": (
        f"method=rigl {GROWING}",
        "0 initial - 1476 1408",
        "1 pruned 38fe2c124db538f0 631 563",
        "1 finetuned 1bc396355bc174b0 631 563",
    ),
    "SET": (
        f"method=set {GROWING}",
        "0 initial - 1476 1408",
        "1 pruned 38fe2c124db538f0 631 563",
        "1 finetuned ebd7dc53ab83c0ad 629 561",
    ),
    "soft masks, growing penalty": (
        f"dynamics=soft penalty=growing_l2 penalty.epochs=2 structure=neuron {TWO_LEVELS}=0.5",
        "0 dense - 1476 1408",
        "1 penalised 5b05931eeac96fab 1476 1408",
        "1 pruned b3dd59260a84c0df 1080 1024",
        "1 finetuned 5b05931eeac96fab 1284 1216",
        "2 penalised 5b05931eeac96fab 1316 1248",
        "2 pruned bb4cc2bceff0ea4d 816 768",
        "2 finetuned bb4cc2bceff0ea4d 816 768",
    ),
    "AC/DC inside one training": (
        "method=ac_dc schedule=ac_dc schedule.final=0.3 steps.begin=0 steps.end=16 steps.every=4 "
        "retraining.epochs=6 retraining.optimizer.lr=0.05",
        "0 initial - 1476 1408",
        "1 pruned e19d70aa660c54ff 490 422",
        "2 pruned 1688606800ca4b92 490 422",
        "3 pruned fb5ec9afe0d419ac 490 422",
        "3 finetuned fb5ec9afe0d419ac 490 422",
    ),
    "sensitivity of layers": (
        "method=sensitivity_magnitude schedule.final=0.3",
        "0 dense - 1476 1408",
        "1 pruned b0ba66786dc72686 490 422",
        "1 finetuned b0ba66786dc72686 490 422",
    ),
    "gradients, one for all layers": (
        "method=global_gradient schedule.final=0.3",
        "0 dense - 1476 1408",
        "1 pruned 87553e6efd1694e3 490 422",
        "1 finetuned 87553e6efd1694e3 490 422",
    ),
    "SparseGPT on a transformer": (
        f"method=sparsegpt schedule.final=0.5 {TRANSFORMER}",
        "0 dense - 1103 12192",
        "1 pruned 64dc85e4fb60e78d 691 7248",
        "1 finetuned 64dc85e4fb60e78d 691 7248",
    ),
    "rows with their norms": (
        "model.batch_norm=true method=taylor_unit schedule.final=0.5 recalibration=batch_norm",
        "0 dense - 1604 1408",
        "1 pruned 10e1166d050dc651 864 752",
        "1 recalibrated 10e1166d050dc651 864 752",
        "1 finetuned 10e1166d050dc651 864 752",
    ),
    "OBS": (
        "method=obs schedule.final=0.4",
        "0 dense - 1476 1408",
        "1 pruned 370b4cc9bb83bbd9 631 563",
        "1 finetuned 370b4cc9bb83bbd9 631 563",
    ),
    "SynFlow": (
        "method=synflow schedule.final=0.2",
        "0 initial - 1476 1408",
        "1 pruned dad28a57ca6f2e2f 350 282",
        "1 finetuned dad28a57ca6f2e2f 350 282",
    ),
    "Wanda at two levels": (
        "method=wanda schedule=explicit schedule.values=[0.5,0.25]",
        "0 dense - 1476 1408",
        "1 pruned 275ba2891d2953bf 772 704",
        "1 finetuned 275ba2891d2953bf 772 704",
        "2 pruned e985536fe08fa0ef 420 352",
        "2 finetuned e985536fe08fa0ef 420 352",
    ),
    "rows to a compression": (
        "method=l1_rows schedule.unit=compression schedule.final=2",
        "0 dense - 1476 1408",
        "1 pruned 84d56580e7e78861 729 696",
        "1 finetuned 84d56580e7e78861 729 696",
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_masks_and_counts_of_a_run_are_those_of_before(name: str, tmp_path: Path) -> None:
    assert found(Ranks(), name, tmp_path) == list(RUNS[name][1:])


@pytest.mark.parametrize("name", ["SET", "gradients, one for all layers"])
def test_two_ranks_come_to_the_same(name: str, tmp_path: Path) -> None:
    assert on_ranks(2, found, name, tmp_path)[0] == list(RUNS[name][1:])


def found(ranks: Ranks, name: str, dense: Path) -> list[str]:
    experiment = build(composed([*TINY.split(), *RUNS[name][0].split()]))
    watcher = Silent()
    runner.run(Recorder(*runner.prepare(experiment, ranks, dense), ME, watcher))
    return [
        f"{record.level} {record.stage} {record.masks or '-'} {record.parameters} {record.macs}"
        for record in watcher.records
    ]
