"""The report over what is there when cohorts failed: another job than the full one, never mistaken for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from engine.study.fingerprint import content_key
from engine.study.plan import Job, Plan


def partial_report(plan: Plan, failed: Mapping[str, str]) -> Job | None:
    """Return the report over what is there when some cohorts failed; None if nothing is.

    Args:
        plan: the plan whose report lacks inputs.
        failed: role of each analysis that will never come → why.
    """
    report = plan.report
    kept = [cohort for cohort in report.config["cohorts"] if cohort["role"] not in failed]
    if not kept:
        return None
    needed = {cohort["subject"] for cohort in kept}
    subjects = [one for one in report.config["subjects"] if one["role"] in needed]
    titles = {cohort["role"]: cohort["title"] for cohort in report.config["cohorts"]}
    config = {
        **report.config,
        "subjects": subjects,
        "cohorts": kept,
        "failed": {titles[role]: reason for role, reason in failed.items()},
    }
    roles = [*(one["role"] for one in subjects), *(cohort["role"] for cohort in kept)]
    inputs = {role: report.inputs[role] for role in roles}
    made = {job.directory: job.key for job in plan.jobs}
    keys = {role: made[directory] for role, directory in inputs.items()}
    key = content_key("report", config, keys, plan.placement.numerics())
    return replace(report, key=key, config=config, inputs=inputs)
