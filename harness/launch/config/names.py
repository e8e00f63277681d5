"""Says by which names a run is known in records."""

from harness.experiment.experiment import Experiment
from harness.launch.run_spec import RunSpec
from harness.run_folder.identity import setting_hash, value_at
from harness.run_folder.records import Identity


def identity_of(spec: RunSpec, experiment: Experiment) -> Identity:
    """Returns the fields that are equal in all records of a run."""
    return Identity(
        run=spec.run,
        setting=setting_hash(spec.hashed_config),
        method=spec.method,
        label=spec.label,
        model=_name_of(spec, "model", experiment.model),
        data=_name_of(spec, "data", experiment.data),
        model_published_as=_published_as(experiment.model),
        data_published_as=_published_as(experiment.data),
    )


def _name_of(spec: RunSpec, group: str, part: object) -> str:
    """Returns the part's `short_name`, its key `name`, or the chosen file of its group."""
    name = getattr(part, "short_name", None) or value_at(spec.values, f"{group}.name")
    return name if isinstance(name, str) and name else spec.choices[group]


def _published_as(part: object) -> str | None:
    """Returns the name of a model or data set in the literature, or None.

    Raises:
        ValueError: the component's published_as is neither a name nor None.
    """
    name = getattr(part, "published_as", None)
    if name is not None and (not isinstance(name, str) or not name):
        raise ValueError(
            f"{type(part).__name__}.published_as must be a name in the literature such as mnist, "
            f"or None, got {name!r}"
        )
    return name
