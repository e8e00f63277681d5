"""Points of a grid are what Hydra composes of each by itself."""

import pytest
from conftest import cases
from grids import TINY, batch_of, by_hydra, points_of
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from harness.launch import run_spec
from harness.launch.paths import CONF
from harness.launch.sweeps.grid import effective

SWEEPS = sorted(file.stem for file in (CONF / "sweep").glob("*.yaml"))


def _assert_as_hydra(batch: list[list[str]]) -> None:
    for overrides, point in zip(batch, points_of(batch), strict=True):
        assert point.config == by_hydra(overrides), overrides
        assert point.overrides == overrides


@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_sample_of_every_sweep_of_conf_is_what_hydra_composes(sweep) -> None:
    node = OmegaConf.load(CONF / "sweep" / f"{sweep}.yaml")
    params = OmegaConf.to_container(OmegaConf.select(node, "hydra.sweeper.params"))
    assert isinstance(params, dict)
    batch = batch_of(f"sweep={sweep}", *(f"{key}={value}" for key, value in params.items()))

    # Two of a shape beside each other, and some from everywhere.
    _assert_as_hydra([*batch[:2], *batch[2 :: max(1, len(batch) // 4)], batch[-1]])


@cases(
    "grid",
    ("seed=range(0,3)",), ("seed=choice(2,0,2)",), ("weights='a b','a=b','null'",),
    ("weights=null,1,1.5,true,x",), ("weights=null", "seed=0,1"),
    ("exclude=[],[first],[first,last]",), ("sensitivity.grid=[0.5,0.25],[1.0]", "seed=0,1"),
    ("gradual={interval: 7},{first_step: 3}", "seed=0,1"),
    ("training.optimizer={lr: 0.5}", "training.optimizer.lr=0.1,0.2"),
    ("training.optimizer.lr=0.1,0.2", "training.optimizer={lr: 0.5}"), ("+extra=1,2", "seed=0,1"),
    ("++seed=4,5", "run_name=a,b"), ("seed=1,2", "++seed=7"),
    ("+extra={a: 1}", "+extra.b=2,3", "++extra.a=4,5"), ("~calibration", "seed=0,1"),
    ("~calibration.samples", "seed=0,1"), ("calibration.samples=3,4", "~calibration.samples"),
    ("~mask_updates", "seed=0,1"), ("mask_updates=null,set,rigl", "seed=0,1"),
    ("+penalty@extra=l1", "seed=0,1"),
    ("learning_rate@training.learning_rate=cosine,constant", "seed=0,1"),
    ("training@retraining=sgd,adam", "retraining.epochs=3,4"),
    ("run_name='${seed}','x${seed}'", "seed=0,1"),
    ("gradual='${calibration}','${checkpoint}'", "calibration.samples=3,4"),
    ("seed=0,1", "seed=2,3"),
    ("finetune=weight_rewind,keep", "seed=0,1"), ("method=random,snip", "seed=0,1"),
    ("experiment=null",), ("checkpoint=null,3", "seed=0,1"), ids=" ".join,
)  # fmt: skip
def test_odd_overrides_come_to_what_hydra_makes_of_them(grid, monkeypatch) -> None:
    # Some are no values of their keys, which is told after they are composed.
    monkeypatch.setattr(run_spec, "check_config", lambda *_: None)
    _assert_as_hydra(batch_of("schedule=one_shot", *grid))


def test_a_value_of_one_point_is_not_found_in_the_next() -> None:
    first, second = points_of([["training.optimizer.lr=0.5"], ["retraining.optimizer.lr=0.5"]])

    assert first.config["training"]["optimizer"]["lr"] == 0.5
    assert second.config["training"]["optimizer"]["lr"] != 0.5


def test_points_have_the_names_of_their_own_methods() -> None:
    found = points_of(batch_of(*TINY, "saliency=magnitude,random", "seed=0,1"))

    assert [point.method for point in found] == ["global_magnitude"] * 2 + ["random"] * 2


def _effective(*grid: str) -> list[str | None]:
    return [
        each.input_line for each in effective(OverridesParser.create().parse_overrides([*grid]))
    ]


def test_a_value_said_again_takes_the_place_of_the_one_before() -> None:
    assert _effective("seed=0,1,2", "run_name=a", "seed=5") == ["run_name=a", "seed=5"]
    assert batch_of("method=random,snip", "seed=0,1,2", "method=grasp", "seed=7") == [
        ["method=grasp", "seed=7"]
    ]


def test_what_is_merged_added_or_deleted_takes_no_place() -> None:
    for grid in (
        ("gradual={interval: 7}", "gradual={first_step: 3}"),
        ("gradual=null", "gradual={first_step: 3},{last_step: 4}"),
        ("seed=0,1", "+seed=5"),
        ("seed=0,1", "++seed=5"),
        ("~seed", "seed=5"),
        ("seed=0,1", "~seed"),
        ("training@training=sgd", "training@retraining=sgd"),
    ):
        assert _effective(*grid) == list(grid)


def test_a_sweep_folder_is_a_folder_below_runs(tmp_path) -> None:
    for wrong in ("", "..", ".cache", "a/b", "/tmp/x"):
        with pytest.raises(ValueError, match="sweep_name must be a name"):
            points_of([[f"output_dir={tmp_path}", f"sweep_name='{wrong}'"]])
    (point,) = points_of([[f"output_dir={tmp_path}", "sweep_name=2024"]])
    assert point.sweep_folder == tmp_path / "2024"
