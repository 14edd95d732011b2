"""The report over what is left of a study when some of its jobs are lost."""

from __future__ import annotations

import json

from engine.jobs.entry import LOST, Entry
from engine.jobs.messages import AskedJob, JobFile
from engine.jobs.queue import Queue
from engine.study.partial import partial_report


def report_over_the_rest(queue: Queue, report: Entry) -> tuple[str, AskedJob | None]:
    """Return what a report lacks, in words, and the job that reports what is there; None if nothing is."""
    file = json.loads(queue.file(report.directory))
    needs = {need.directory: need for need in queue.needs(report.directory)}
    lost = {name: cause(queue, need) for name, need in needs.items() if need.state in LOST}
    reason = f"needs {', '.join(needs[name].name for name in lost)}"
    if "cohorts" not in file["config"]:  # a report that knows no parts
        return reason, None
    titles = {cohort["role"]: cohort["title"] for cohort in file["config"]["cohorts"]}
    why = {role: lost[name] for role, name in file["inputs"].items() if name in lost}
    # A subject may be lost after what was made of it: its result was found damaged, and cannot be made again.
    for cohort in file["config"]["cohorts"]:
        if cohort["subject"] in why:
            why.setdefault(cohort["role"], why[cohort["subject"]])
    # What failed is named, unless it is the cohort itself.
    failed = {
        role: text.removeprefix(f"{titles[role]}: ") for role, text in why.items() if role in titles
    }
    keys = {name: need.key for name, need in needs.items()}
    rest = partial_report(file, keys, failed)
    if rest is None:
        return reason, None
    sizes = {"memory_bytes": report.memory_bytes, "disk_bytes": report.disk_bytes}
    return reason, AskedJob(file=JobFile.model_validate(rest), slots=report.slots, **sizes)


def cause(queue: Queue, job: Entry) -> str:
    """Return why a job is lost: the failure at the beginning of it, named after the job that had it."""
    if job.state == "skipped":
        for need in queue.needs(job.directory):
            if need.state in LOST:
                return cause(queue, need)
    return f"{job.name}: {job.reason or job.state}"
