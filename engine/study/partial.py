"""The report over what is there when cohorts failed: another job than the full one, never mistaken for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.study.fingerprint import content_key


def partial_report(
    report: Mapping[str, Any], keys: Mapping[str, str], failed: Mapping[str, str]
) -> dict[str, Any] | None:
    """Return the job file of the report over what is there when some cohorts failed; None if nothing is.

    Args:
        report: job file of the report that lacks inputs.
        keys: run directory → content key of its inputs.
        failed: role of each analysis that will never come → why.
    """
    kept = [cohort for cohort in report["config"]["cohorts"] if cohort["role"] not in failed]
    if not kept:
        return None
    needed = {cohort["subject"] for cohort in kept}
    subjects = [one for one in report["config"]["subjects"] if one["role"] in needed]
    titles = {cohort["role"]: cohort["title"] for cohort in report["config"]["cohorts"]}
    config = {
        **report["config"],
        "subjects": subjects,
        "cohorts": kept,
        "failed": {
            **report["config"].get("failed", {}),
            **{titles[role]: reason for role, reason in failed.items()},
        },
    }
    roles = [*(one["role"] for one in subjects), *(cohort["role"] for cohort in kept)]
    inputs = {role: report["inputs"][role] for role in roles}
    numerics = {name: value for name, value in report["placement"].items() if name != "profile"}
    read = {role: keys[directory] for role, directory in inputs.items()}
    return {
        **report,
        "config": config,
        "inputs": inputs,
        "key": content_key("report", config, read, numerics),
    }
