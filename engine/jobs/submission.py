"""A plan as a message: every job as its worker will be told of it."""

from __future__ import annotations

from typing import Any

from engine.jobs.messages import AskedJob, JobFile, Submission
from engine.study.fingerprint import code_fingerprint
from engine.study.machine import detect
from engine.study.plan import Job, Plan
from engine.study.profile import Placement, worker_environment
from engine.study.spec import write_yaml


def submission_of(plan: Plan, priority: int = 0) -> Submission:
    """Return the message that queues a plan."""
    system = detect().system
    return Submission(
        study=plan.study.name,
        profile=plan.placement.profile,
        yaml=write_yaml(plan.study),
        priority=priority,
        report=plan.report.directory,
        jobs=[_asked(job, plan.placement, system) for job in plan.jobs],
    )


def _asked(job: Job, placement: Placement, system: str) -> AskedJob:
    return AskedJob(
        file=JobFile.model_validate(job_file(job, placement, system)),
        slots=job.slots,
        steps=job.steps,
        memory_bytes=job.memory_bytes,
        disk_bytes=job.disk_bytes,
    )


def job_file(job: Job, placement: Placement, system: str) -> dict[str, Any]:
    """Return the content of `job.json`."""
    return {
        "kind": job.kind,
        "name": job.name,
        "key": job.key,
        "code": code_fingerprint(job.kind),
        "config": job.config,
        "policy": job.policy,
        "inputs": job.inputs,
        "work": job.work,
        "threads": job.threads,
        "placement": {**placement.numerics(), "profile": placement.profile},
        "environment": worker_environment(placement, job.threads, system),
    }
