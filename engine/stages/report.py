"""Stage `report`: gathers what the jobs found into one summary; computes nothing new."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.disk.curves import read_curves
from engine.disk.rundir import RunDirectory
from engine.report.publication import write_report
from engine.stages.context import Context, Result

SCHEMA = 1
FEATURES = "features.parquet"


def run(context: Context) -> Result:
    """Write summary.json, report.html, features.parquet and the figures."""
    config = context.config
    subject_run = context.inputs["subject"]
    analyses = [context.inputs[role] for role in config["analyses"]]
    subject = subject_run.read_result()
    cohorts = [run.read_result()["cohort"] for run in analyses]
    jobs = {run.path.name: run for run in _ancestors([subject_run, *analyses])}
    summary = {
        "schema": SCHEMA,
        "study": config["name"],
        "description": config["description"],
        "profile": config["profile"],
        "warnings": _warnings(subject, cohorts, jobs, config),
        "subject": _subject(subject, context.policy),
        "cohorts": cohorts,
        "contrasts": [],
        "timings": _timings(jobs),
        "provenance": _provenance(jobs, config),
    }
    material = {
        "subject_curves": read_curves(subject_run.curves_file),
        "spectrum": subject.get("spectrum"),
        "cohorts": [{"curves": read_curves(_input(run, "cohort").curves_file)} for run in analyses],
    }
    folder = context.run.begin_artifacts()
    write_report(folder, summary, material)
    _write_features(folder / FEATURES, analyses)
    return {"verdicts": {cohort["title"]: cohort["verdict"] for cohort in cohorts}}


def _input(run: RunDirectory, role: str) -> RunDirectory:
    return RunDirectory(run.path.parent / run.read_job()["inputs"][role])


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


def _subject(result: dict[str, Any], policy: dict[str, Any]) -> dict[str, Any]:
    subject = {k: v for k, v in result.items() if k not in ("provenance", "spectrum")}
    if "gates" in subject:
        subject["gates"] = {"policy": policy.get("gates", "enforce"), **subject["gates"]}
    return {**subject, "seconds": result["provenance"]["seconds"]}


def _warnings(
    subject: dict[str, Any],
    cohorts: list[dict[str, Any]],
    jobs: dict[str, RunDirectory],
    config: dict[str, Any],
) -> list[str]:
    found = []
    if not subject.get("gates", {"passed": True})["passed"]:
        failed = ", ".join(g["name"] for g in subject["gates"]["gates"] if not g["passed"])
        found.append(
            f"The subject failed gate {failed}: nothing below is evidence about a model that computes the "
            "answer."
        )
    if len(config["study"]["seeds"]) < 3:
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


def _write_features(path: Path, analyses: list[RunDirectory]) -> None:
    import pyarrow as pa  # here, because importing it starts a thread (see engine.nursery)
    import pyarrow.parquet as pq

    tables = [pq.read_table(run.artifacts / FEATURES) for run in analyses]
    pq.write_table(pa.concat_tables(tables, promote_options="default"), path, compression="zstd")
