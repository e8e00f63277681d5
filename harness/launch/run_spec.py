"""Describes one run as plain data: its config, its name and its folder."""

import json
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

from harness.launch.compose import check_config_names, config_folders
from harness.launch.config.check import check_config
from harness.launch.digests.code import code_of
from harness.launch.digests.files import file_digest, files_digest, weights_digest
from harness.launch.instantiate import build_part
from harness.launch.method_name import method_name
from harness.launch.variables import resolved, unresolved
from harness.run_folder.curve_records import FILE, curve_config
from harness.run_folder.identity import Config, hashed_config_of, run_hash
from harness.run_folder.outcome import results_of
from harness.run_folder.stage_keys import requested_of
from harness.system.json_schema import parse_json
from harness.system.names import check_name

# A run, a sensitivity analysis, a latency table, or dense training alone, which fills the cache.
COMMANDS = ("run", "analyse", "measure", "dense")
WORDS = {"analyse": "sensitivity", "measure": "latency"}  # on the command line; a run has none


@dataclass(frozen=True)
class RunSpec:
    """Holds one run as plain data, which travels to workers, jobs and plan files as JSON.

    Args:
        config: plain values; environment variables as references (harness/launch/variables.py)
        choices: group -> chosen file
        method: name of the method, for records and names of files
        label: the method's name in tables and figures
        overrides: overrides of the command line
        command: one of COMMANDS
        shared_stages: keys (harness/run_folder/stage_keys.py) of stages that other runs of the
            sweep have too, in the order of the stages
        options: Hydra's options that name folders of configs
        data_sha256: digest of the data (harness/launch/digests/data.py); None until the data are
            read, and until then the run has another name
        planned_hash: hash of the config in the process that planned the run, if environment
            variables decide the config
        rehearsed: names the parts (`rehearsal_hash`) that were rehearsed when the run was planned
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
    rehearsed: str = ""

    @cached_property
    def values(self) -> Config:
        """Returns the config with values of environment variables, which are never stored.

        Raises:
            ValueError: a variable that the config names is not set.
        """
        values: Config = resolved(self.config)
        return values

    @cached_property
    def hashed_config(self) -> Config:
        """Returns the part of the config that decides numbers, as values."""
        return hashed_config_of(self.values, *self._contents)

    @property
    def written(self) -> Config:
        """Returns the part of the config that decides numbers, as it is stored."""
        return hashed_config_of(self.config, *self._contents)

    @property
    def _contents(self) -> tuple[str | None, ...]:
        """Returns the digests of weights, data, latency table, and files that decide the model."""
        weights, files = self._model_digests
        return weights, self.data_sha256, self.latency_table_sha256, files

    @cached_property
    def _model_digests(self) -> tuple[str | None, str | None]:
        model, weights = self.values["model"], self.values["weights"]
        return weights_digest(weights, model), files_digest(model)

    @cached_property
    def latency_table_sha256(self) -> str | None:
        """Returns the digest of the latency table's bytes; None without a table."""
        return file_digest("latency_table", self.values["latency_table"])

    @property
    def identity_config(self) -> Config:
        """Returns the part of the config that decides the results of the command."""
        if self.command != "analyse":
            return self.hashed_config
        return curve_config(self.hashed_config, self.values["sensitivity"]["grid"])

    @property
    def run(self) -> str:
        return run_hash(self.identity_config)[:12]

    @property
    def sweep_folder(self) -> Path:
        """Returns the folder of all runs of the sweep."""
        return sweep_folder(self.values)

    @property
    def folder(self) -> Path:
        # Folders of runs are two hex digits there, so that the name is free.
        below = "sensitivity" if self.command == "analyse" else self.run[:2]
        name = check_name("run_name", self.values["run_name"])
        return self.sweep_folder / below / f"{name}-{self.run}"

    @property
    def result_files(self) -> tuple[str, ...]:
        """Returns the files that a finished run or analysis has written."""
        return {"run": results_of(self.config), "analyse": (FILE,)}.get(self.command, ())

    @property
    def command_line(self) -> list[str]:
        """Returns the command line that executes this run alone, in the same current folder."""
        command = [WORDS[self.command]] if self.command in WORDS else []
        return ["pruning-harness", *command, *self.options, *self.overrides]

    @cached_property
    def requested(self) -> list[float | None]:
        """Returns the requested values of the schedule at level 1, 2, ...

        The list is empty for gradual pruning, and for a schedule that cannot be built: the run
        itself reports the error.
        """
        if self.config["prune_at"] == "during_training":
            return []
        try:
            return requested_of(build_part(self.config["schedule"]).kept_fractions)
        except Exception:
            return []

    @cached_property
    def code(self) -> str:
        """Returns the digest of the sources that decide the numbers of the command."""
        return code_of(self.identity_config)

    @property
    def reads_environment(self) -> bool:
        """True if environment variables decide the config."""
        return bool(self.config != self.values)

    def for_plan(self) -> "RunSpec":
        """Returns the same with `planned_hash`, for processes whose environment may differ."""
        known = self.reads_environment and self.data_sha256
        return replace(self, planned_hash=run_hash(self.hashed_config)[:12] if known else None)

    def check_values(self) -> None:
        """Checks that the environment is that of the process which planned the run.

        Raises:
            ValueError: variables have other values.
        """
        if self.planned_hash not in (None, run_hash(self.hashed_config)[:12]):
            raise ValueError(
                "environment variables that the config names have other values here than where "
                "this run was planned, so that it would be another run; set the same values"
            )

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> "RunSpec":
        return cls(**parse_json(line))


def build_run_spec(cfg: DictConfig, hydra: HydraConf, command: str = "run") -> RunSpec:
    """Builds the RunSpec of a composed config.

    Raises:
        ValueError: method=... is given together with a part that the method does not have, or
            the name of the run or of the sweep is not allowed.
    """
    config = unresolved(cfg)
    values = resolved(config)
    choices = {str(group): str(name) for group, name in hydra.runtime.choices.items()}
    check_config(values, choices)
    name, label = method_name(choices, values, hydra)
    # Unresolved: an interpolation in an override belongs to the config, not to Hydra's node.
    overrides = OmegaConf.to_container(hydra.overrides, resolve=False)
    assert isinstance(overrides, dict)
    _check_config_names(tuple(config_folders(hydra)))
    sources = hydra.runtime.config_sources
    options = [f"--config-dir={s.path}" for s in sources if s.provider == "command-line"]
    return RunSpec(config, choices, name, label, list(overrides["task"]), command, options=options)


@cache  # once for all runs of a sweep
def _check_config_names(folders: tuple[Path, ...]) -> None:
    check_config_names(folders)


def sweep_folder(config: Config) -> Path:
    """Returns the folder of a sweep.

    Raises:
        ValueError: sweep_name is not allowed as the name of a folder below `output_dir`.
    """
    return Path(config["output_dir"]) / check_name("sweep_name", config["sweep_name"])
