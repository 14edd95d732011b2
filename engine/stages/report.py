"""Stage `report`: gathers what the jobs found into one summary, and compares the cohorts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.disk.curves import read_curves
from engine.disk.rundir import FEATURES, RunDirectory
from engine.report.claims import examine
from engine.report.columns import describe
from engine.report.publication import write_report
from engine.stages.context import Context, Result
from engine.stages.contrasts import compare_cohorts
from engine.stages.feature_material import feature_material
from engine.stages.flags import flags_of_training, warnings_of_training
from engine.stages.parts import cohort_parts
from engine.stages.trends import find_trends

SCHEMA = 1


def run(context: Context) -> Result:
    """Write summary.json, report.html, features.parquet and the figures."""
    config = context.config
    told = config["subjects"]
    subject_runs = {one["role"]: context.inputs[one["role"]] for one in told}
    analyses = [context.inputs[cohort["role"]] for cohort in config["cohorts"]]
    subjects = [_subject(run) for run in subject_runs.values()]
    cohorts = [
        {**run.read_result()["cohort"], "title": cohort["title"], "point": cohort["point"]}
        for cohort, run in zip(config["cohorts"], analyses, strict=True)
    ]
    traced = [_trace(run) for run in analyses]
    for cohort, trace in zip(cohorts, traced, strict=True):
        cohort["flags"] = flags_of_training(cohort, trace)
        cohort["warnings"] = [*cohort["warnings"], *warnings_of_training(cohort, trace)]
    jobs = {run.path.name: run for run in _ancestors([*subject_runs.values(), *analyses])}
    failed, sign = _failed_gates(subjects), config["study"]["analysis"]["sign"]
    contrasts, left_out = compare_cohorts(cohorts, analyses, sign, failed)
    summary = {
        "schema": SCHEMA,
        "study": config["name"],
        "description": config["description"],
        "profile": config["profile"],
        "warnings": _warnings(subjects, cohorts, jobs, config),
        "subject": subjects[0],
        "cohorts": cohorts,
        "failed": [{"title": title, "reason": why} for title, why in config["failed"].items()],
        "contrasts": contrasts,
        "contrasts_left_out": left_out,
        "trends": find_trends(cohorts, failed),
        "timings": _timings(jobs),
        "provenance": _provenance(jobs, config),
    }
    summary["claims"] = examine(summary)
    if len(subjects) > 1:
        summary["subjects"] = [
            {"title": one["title"], "point": one["point"], **subject}
            for one, subject in zip(told, subjects, strict=True)
        ]
    first = next(iter(subject_runs.values()))
    material = {
        "subject_curves": read_curves(first.curves_file),
        "spectrum": first.read_result().get("spectrum"),
        "cohorts": traced,
        "features": [feature_material(run) for run in analyses],
    }
    folder = context.run.begin_artifacts()
    write_report(folder, summary, material)
    _write_features(
        folder / FEATURES, {c["title"]: r for c, r in zip(cohorts, analyses, strict=True)}
    )
    return {"verdicts": {cohort["title"]: cohort["verdict"] for cohort in cohorts}}


def _trace(analysis: RunDirectory) -> dict[str, Any]:
    """Return the curves of the cohort that was analysed, and whose they are; of several parts side by side."""
    inputs = {
        role: RunDirectory(analysis.path.parent / name)
        for role, name in analysis.read_job()["inputs"].items()
    }
    parts = cohort_parts(inputs, "cohort")
    rows: dict[int, dict[str, Any]] = {}
    for part in parts:
        for row in read_curves(part.curves_file):
            joined = rows.setdefault(row["step"], {"step": row["step"]})
            for name, values in row.items():
                if name not in ("step", "seconds"):  # parts take their time one by one
                    joined[name] = joined.get(name, []) + values
    seeds = [seed for part in parts for seed in part.read_job()["config"]["seeds"]]
    return {"curves": list(rows.values()), "seeds": seeds}


def _ancestors(runs: list[RunDirectory]) -> Iterator[RunDirectory]:
    """Yield the jobs that led here, inputs first, each once."""
    seen: set[Path] = set()

    def visit(run: RunDirectory) -> Iterator[RunDirectory]:
        if run.path in seen:
            return
        seen.add(run.path)
        for name in run.read_job()["inputs"].values():
            yield from visit(RunDirectory(run.path.parent / name))
        yield run

    for run in runs:
        yield from visit(run)


def _subject(run: RunDirectory) -> dict[str, Any]:
    result, policy = run.read_result(), run.read_job()["policy"]
    subject = {k: v for k, v in result.items() if k not in ("provenance", "spectrum")}
    if "gates" in subject:
        subject["gates"] = {"policy": policy.get("gates", "enforce"), **subject["gates"]}
    return {**subject, "seconds": result["provenance"]["seconds"]}


def _failed_gates(subjects: list[dict[str, Any]]) -> str:
    gates = [gate for subject in subjects for gate in subject.get("gates", {}).get("gates", ())]
    return ", ".join(dict.fromkeys(gate["name"] for gate in gates if not gate["passed"]))


def _warnings(
    subjects: list[dict[str, Any]],
    cohorts: list[dict[str, Any]],
    jobs: dict[str, RunDirectory],
    config: dict[str, Any],
) -> list[str]:
    found = [f"{title} is missing: {reason}" for title, reason in config["failed"].items()]
    for told, subject in zip(config["subjects"], subjects, strict=True):
        if not subject.get("gates", {"passed": True})["passed"]:
            failed = ", ".join(g["name"] for g in subject["gates"]["gates"] if not g["passed"])
            which = "The subject" if len(subjects) == 1 else f"The {told['title']}"
            below = "nothing below" if len(subjects) == 1 else "nothing of it"
            found.append(
                f"{which} failed gate {failed}: {below} is evidence about a model that computes the answer."
            )
    if any(len(cohort["seeds"]) < 3 for cohort in cohorts):
        found.append("Fewer than three seeds: no interval can be given, so there is no verdict.")
    for cohort in cohorts:
        found += [f"{cohort['title']}: {text}" for text in cohort["warnings"]]
    for run in jobs.values():
        found += [text for text in run.read_result()["provenance"]["warnings"] if text not in found]
    return found


def _timings(jobs: dict[str, RunDirectory]) -> dict[str, Any]:
    rows = []
    for run in jobs.values():
        job, provenance = run.read_job(), run.read_result()["provenance"]
        row = {"name": job["name"], "kind": job["kind"], "seconds": provenance["seconds"]}
        rows.append({**row, "peak_memory_bytes": provenance["peak_memory_bytes"]})
    return {"total_seconds": round(sum(row["seconds"] for row in rows), 3), "jobs": rows}


def _provenance(jobs: dict[str, RunDirectory], config: dict[str, Any]) -> dict[str, Any]:
    last = list(jobs.values())[-1].read_result()["provenance"]
    study = config["study"]
    subject, training = study["subject"], study["training"]
    return {
        "versions": last["versions"],
        "environment": {**last["environment"], "threads": last["threads"], **last["placement"]},
        "thread_pools": last["thread_pools"],
        "numerics": last.get("numerics", {}),
        "seeds": {
            "init_seeds": study["seeds"],
            "vary": study["vary"],
            "data_order_seed": training["data_order_seed"],
            "split_seed": training["split_seed"],
            "surrogate_seed": study["analysis"]["surrogate_seed"],
            **{f"subject_{k}": v for k, v in subject.items() if k.endswith("seed")},
        },
        "keys": {run.read_job()["name"]: run.read_job()["key"] for run in jobs.values()},
        "settings": study,
    }


def _write_features(path: Path, analyses: dict[str, RunDirectory]) -> None:
    """Write the features of all cohorts, each under the title that it has in the summary."""
    import pyarrow as pa  # here, because importing it starts a thread (see engine.nursery)
    import pyarrow.parquet as pq

    tables = []
    for title, run in analyses.items():
        table = pq.read_table(run.artifacts / FEATURES)
        place = table.column_names.index("cohort")
        tables.append(table.set_column(place, "cohort", pa.array([title] * table.num_rows)))
    joined = pa.concat_tables(tables, promote_options="default")
    pq.write_table(describe(joined), path, compression="zstd")
