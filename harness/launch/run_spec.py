"""One run as plain data: what its config came to, what it is called, where it lies."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

from harness.launch.compose import check_config_names, config_folders
from harness.launch.digests.code import code_of
from harness.launch.instantiate import build_part
from harness.launch.method_name import method_name
from harness.launch.variables import resolved, unresolved
from harness.run_folder.curve_records import FILE, analysed
from harness.run_folder.identity import Config, hashed_config_of, run_hash
from harness.run_folder.outcome import RESULTS
from harness.run_folder.stage_keys import requested_of
from harness.system.names import check_name

# What becomes of a point: a run, a sensitivity analysis, or dense training alone, for its cache.
COMMANDS = ("run", "analyse", "dense")


@dataclass(frozen=True)
class RunSpec:
    """It travels to worker processes, jobs and plan files as a line of JSON.

    config: plain values, environment variables as they are written. choices: group -> chosen file.
    overrides: of the command line. command: one of COMMANDS. marked: keys of its stages
    (harness/run_folder/stage_keys.py) that other runs of its sweep have too, in their order.
    options: Hydra's own, that say where configs are.
    data_sha256: of the content of its data (harness/launch/digests/data.py); None until they are
    read, and until then the point has another name. values_at: hash of the values where it was
    planned, if environment variables decide them.
    """

    config: Config
    choices: dict[str, str]
    method: str
    label: str
    overrides: list[str] = field(default_factory=list)
    command: str = "run"
    shared_stages: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    data_sha256: str | None = None
    planned_hash: str | None = None

    @cached_property
    def values(self) -> Config:
        """The config with what the environment says here; never to be stored.

        Raises:
            ValueError: a variable that it names is not set.
        """
        found: Config = resolved(self.config)
        return found

    @cached_property
    def hashed_config(self) -> Config:
        """The part of the config that decides numbers, as values."""
        return hashed_config_of(self.values, self._weights_sha256, self.data_sha256)

    @property
    def written(self) -> Config:
        """The same as it may be stored."""
        return hashed_config_of(self.config, self._weights_sha256, self.data_sha256)

    @cached_property
    def _weights_sha256(self) -> str | None:
        return _sha256_of(self.values["weights"])

    @property
    def identity_config(self) -> Config:
        """What of it decides the results of its command."""
        if self.command != "analyse":
            return self.hashed_config
        return analysed(self.hashed_config, self.values["sensitivity"]["grid"])

    @property
    def run(self) -> str:
        return run_hash(self.identity_config)[:12]

    @property
    def sweep_folder(self) -> Path:
        """The folder of all runs of its sweep."""
        return sweep_folder(self.values)

    @property
    def folder(self) -> Path:
        # All other folders there have two hex digits for a name.
        below = "sensitivity" if self.command == "analyse" else self.run[:2]
        name = check_name("run_name", self.values["run_name"])
        return self.sweep_folder / below / f"{name}-{self.run}"

    @property
    def result_files(self) -> tuple[str, ...]:
        """Files that a finished one has left; none for dense training alone."""
        return {"run": RESULTS, "analyse": (FILE,), "dense": ()}[self.command]

    @property
    def command_line(self) -> list[str]:
        """The command that carries it out by itself, in the folder where it was given."""
        command = ["sensitivity"] if self.command == "analyse" else []
        return ["pruning-harness", *command, *self.options, *self.overrides]

    @cached_property
    def requested(self) -> list[float | None]:
        """By its schedule at level 1, 2, ..., as harness.run_folder.stage_keys has it; empty for
        one that no run can have, which the run itself will say."""
        if self.config["prune_at"] == "during_training":
            return []
        try:
            return requested_of(build_part(self.config["schedule"]).shares)
        except Exception:
            return []

    @cached_property
    def code(self) -> str:
        """Digest of the sources that decide its numbers."""
        return code_of(self.identity_config)

    @property
    def reads_environment(self) -> bool:
        """Whether environment variables decide its config."""
        return bool(self.config != self.values)

    def for_plan(self) -> "RunSpec":
        """As it travels elsewhere, where variables may have other values."""
        known = self.reads_environment and self.data_sha256
        return replace(self, planned_hash=run_hash(self.hashed_config)[:12] if known else None)

    def check_values(self) -> None:
        """
        Raises:
            ValueError: variables have other values than where it was planned.
        """
        if self.planned_hash not in (None, run_hash(self.hashed_config)[:12]):
            raise ValueError(
                "environment variables that the config names have other values here than where "
                "this run was planned, and would make it another run; set them to the same values"
            )

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> "RunSpec":
        return cls(**json.loads(line))


def build_run_spec(cfg: DictConfig, hydra: HydraConf, command: str = "run") -> RunSpec:
    """
    Raises:
        ValueError: method=... was asked for together with a part that it does not have, or a name
            of the run or its sweep is none.
    """
    config = unresolved(cfg)
    values = resolved(config)
    for key in ("run_name", "sweep_name"):
        check_name(key, values[key])
    choices = {str(group): str(name) for group, name in hydra.runtime.choices.items()}
    name, label = method_name(choices, values, hydra)
    # As they were written: an interpolation in them is the config's, not Hydra's.
    said = OmegaConf.to_container(hydra.overrides, resolve=False)
    assert isinstance(said, dict)
    _checked(tuple(config_folders(hydra)))  # once for all points of a sweep
    given = [one.path for one in hydra.runtime.config_sources if one.provider == "command-line"]
    options = [f"--config-dir={path}" for path in given]
    return RunSpec(config, choices, name, label, list(said["task"]), command, options=options)


@cache
def _checked(folders: tuple[Path, ...]) -> None:
    check_config_names(folders)


def sweep_folder(config: Config) -> Path:
    """
    Raises:
        ValueError: sweep_name is no name of a folder of its own below `output_dir`.
    """
    return Path(config["output_dir"]) / check_name("sweep_name", config["sweep_name"])


def _sha256_of(weights: str | None) -> str | None:
    if weights is None:
        return None
    path = Path(weights)
    if not path.is_file():
        raise ValueError(f"weights={weights}: there is no such file; give a path or null")
    return hashlib.sha256(path.read_bytes()).hexdigest()
