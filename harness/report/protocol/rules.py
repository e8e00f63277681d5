"""Checks the rules of a fair survey on its records and folders, a function per rule.

Source: Blalock et al. 2020, What is the State of Neural Network Pruning? (arXiv:2003.03033), its
recommendations and checklist. The rules on seeds, data and budgets are ours.
"""

from collections.abc import Callable

from harness.report.protocol.baselines import labels_of
from harness.report.protocol.finding import SECTION, Finding, pruned, sections, to_finding
from harness.report.protocol.training_budget import retraining_budget
from harness.report.read.folders import device, timings
from harness.report.read.results import name_some
from harness.report.read.survey import Survey
from harness.report.significance import stats

POINTS = (2, 4, 8, 16, 32)
# Greatest relative distance of a measured compression from an operating point.
TOLERANCE = 0.05
# A latency without these conditions says nothing.
_OF_LATENCY = ("device", "batch_size", "dtype", "runtime", "threads", "torch")


def operating_points(survey: Survey) -> Finding:
    problems = []
    for where, rows in sections(pruned(survey)):
        for label, same in rows.groupby("label"):
            measured = same["compression"].to_numpy(dtype=float)
            absent = [p for p in POINTS if not (abs(measured / p - 1) <= TOLERANCE).any()]
            if absent:
                names = ", ".join(f"{point}x" for point in absent)
                problems.append(f"{label} ({where}) has no result at {names}")
    good = "every method has results at " + ", ".join(f"{point}x" for point in POINTS)
    return to_finding(problems, good, "sweep over schedule.final=2,4,8,16,32 (unit: compression)")


def seeds(survey: Survey) -> Finding:
    counts = pruned(survey).groupby([*SECTION, "label", "requested"])["top1"].count()
    few = counts[counts < stats.FEW_SEEDS]
    problems = [
        f"{label} ({model}, {data}) at {requested:g}x has {count}"
        for model, data, label, requested, count in few.reset_index().itertuples(index=False)
    ]
    good = f"{counts.min()} or more seeds in each of {len(counts)} results"
    return to_finding(problems, good, "add seed=0,1,2 to the sweep")


def same_seeds(survey: Survey) -> Finding:
    problems = []
    for where, rows in sections(pruned(survey)):
        all_seeds = set(rows["seed"])
        for (label, requested), same in rows.groupby(["label", "requested"]):
            absent = sorted(all_seeds - set(same["seed"]))
            if absent:
                names = ", ".join(map(str, absent))
                problems.append(f"{label} ({where}) at {requested:g}x lacks seeds {names}")
    good = "all results of a model and data set have the same seeds"
    return to_finding(problems, good, "run the same sweep again: it runs the missing seeds")


def both_ratios(survey: Survey) -> Finding:
    rows = pruned(survey)
    gaps = rows[rows[["compression", "speedup"]].isna().any(axis=1)]
    good = f"compression and theoretical speed-up are recorded in {len(rows)} results"
    problems = [f"{len(gaps)} results lack one: {name_some(gaps['folder'])}"] if len(gaps) else []
    remedy = "see uncounted_operators of records.csv; a model without a weight has no ratio"
    return to_finding(problems, good, remedy, "missing")


def relative_accuracy(survey: Survey) -> Finding:
    rows = pruned(survey)
    gaps = rows[rows["dense_top1"].isna()]
    good = f"top-1 and its change against the dense model are known for {len(rows)} results"
    problems = [f"{len(gaps)} of {len(rows)} results: {name_some(gaps['folder'])}"]
    remedy = "train the dense model of the same data and seed: any run with prune_at=after_training"
    return to_finding(problems if len(gaps) else [], good, remedy, "missing")


def dense_baseline(survey: Survey) -> Finding:
    dense = survey.results[survey.results["level"] == 0]
    by_section = {where: rows for where, rows in sections(dense)}
    problems = [f"none on {at}" for at, _ in sections(pruned(survey)) if at not in by_section]
    good = "dense models of " + ", ".join(
        f"{rows['seed'].nunique()} seeds ({at})" for at, rows in by_section.items()
    )
    remedy = "add a method with prune_at=after_training to the sweep"
    return to_finding(problems, good, remedy, "missing")


def _baseline(kind: str, command: str) -> Callable[[Survey], Finding]:
    def check(survey: Survey) -> Finding:
        absent, lacking = [], []
        for where, rows in sections(pruned(survey)):
            labels = labels_of(kind, rows, survey.runs)
            own = rows[rows["label"].isin(labels)]
            missing = sorted(set(rows["requested"]) - set(own["requested"]))
            if not labels:
                absent.append(f"none on {where}")
            elif missing:
                names = ", ".join(f"{requested:g}x" for requested in missing)
                lacking.append(f"{', '.join(labels)} ({where}) has no result at {names}")
        verdict = "missing" if absent else "fail"
        good = "at every compression of the other methods"
        return to_finding(absent + lacking, good, f"add {command} to the sweep", verdict)

    return check


def same_dense(survey: Survey) -> Finding:
    dense = survey.records[survey.records["stage"] == "dense"]
    if dense.empty:
        remedy = "run a method with prune_at=after_training"
        return Finding("missing", "no dense model is recorded", remedy)
    measured = dense[["epochs", "steps", "top1", "loss", "validation_loss"]].astype(float).round(12)
    # NaN equals NaN here, as in models that failed.
    alike = measured.groupby(list(measured), dropna=False).ngroup()
    several = alike.groupby([dense[key] for key in [*SECTION, "seed"]]).nunique()
    problems = [
        f"{model}, {data}, seed {seed}: {count} different ones"
        for model, data, seed, count in several.reset_index().itertuples(index=False)
        if count > 1
    ]
    good = f"one per seed, by accuracy, loss and training ({len(several)} in all)"
    return to_finding(problems, good, "run all methods in one sweep, which shares dense training")


def validation_and_test(survey: Survey) -> Finding:
    rows = pruned(survey)
    gaps = rows[rows[["validation_top1", "validation_loss"]].isna().any(axis=1) & ~rows["failed"]]
    if len(gaps):
        details = f"{len(gaps)} results have no validation metrics: {name_some(gaps['folder'])}"
        return Finding("missing", details, "give the data set validation samples")
    # Losses of two sets of samples do not agree to the last digit, except by chance, or where a
    # model with an empty layer has one output for all samples: ln 10 for ten classes.
    alive = rows["empty_layers"].map(lambda layers: not layers)
    equal = rows[(rows["validation_loss"] == rows["loss"]) & alive]
    problems = [f"{len(equal)} results have the same loss on both: {name_some(equal['folder'])}"]
    good = "both are recorded and differ; the last record of a level counts, not the best"
    remedy = "check the split of the data set: no test sample may be a validation sample"
    return to_finding(problems if len(equal) else [], good, remedy)


def hardware(survey: Survey) -> Finding:
    folders = sorted(set(pruned(survey)["folder"]))
    devices = {folder: device(survey.runs / folder) for folder in folders}
    gaps = [folder for folder, name in devices.items() if not name]
    good = "all runs name their device: " + ", ".join(sorted(set(devices.values())))
    problems = [f"{len(gaps)} of {len(folders)} runs do not name a device: {name_some(gaps)}"]
    remedy = "repeat these runs, or copy environment.json beside their records"
    return to_finding(problems if gaps else [], good, remedy, "missing")


def latency(survey: Survey) -> Finding:
    folders = sorted(set(pruned(survey)["folder"]))
    measurements = [
        (folder, line)
        for folder in folders
        for line in timings(survey.runs / folder)
        if line.get("event") == "latency"
    ]
    unlabelled = [path for path, line in measurements if not all(map(line.get, _OF_LATENCY))]
    good = f"{len(measurements)} measurements name theirs" if measurements else "no measurement"
    problems = [f"{len(unlabelled)} measurements lack one: {name_some(unlabelled)}"]
    return to_finding(
        problems if unlabelled else [], good, "measure again with latency.batch_sizes=[1]"
    )


CHECKS: dict[str, Callable[[Survey], Finding]] = {
    "operating points": operating_points,
    "seeds per result": seeds,
    "same seeds": same_seeds,
    "compression and speed-up": both_ratios,
    "raw and relative accuracy": relative_accuracy,
    "dense baseline": dense_baseline,
    "random baseline": _baseline("random", "method=random"),
    "global magnitude baseline": _baseline("global magnitude", "method=global_magnitude"),
    "layerwise magnitude baseline": _baseline("layerwise magnitude", "method=layerwise_magnitude"),
    "same dense weights": same_dense,
    "same retraining budget": retraining_budget,
    "validation and test data": validation_and_test,
    "hardware named": hardware,
    "latency with device, batch and precision": latency,
}
