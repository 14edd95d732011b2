"""The cohorts of a study, and the jobs that analyse them: from the queue, so also before there is a report."""

from __future__ import annotations

import json
from dataclasses import dataclass

from engine.disk.root import RunsRoot
from engine.disk.rundir import RunDirectory
from engine.errors import InputError, JobFailed
from engine.jobs.entry import LOST
from engine.jobs.reading import list_jobs, reading

SHOWN = 8
"""Titles that an error names at most."""


@dataclass(frozen=True)
class CohortJob:
    """One cohort of a study as its analysis stands."""

    title: str
    """As in the study's summary."""
    directory: str
    """Run directory of the analysis."""
    state: str
    """State of the analysis in the queue."""
    reason: str
    """Why it failed or was skipped; may be empty."""


def list_cohorts(root: RunsRoot, study: str) -> list[CohortJob]:
    """Return the cohorts of a study in the order of its plan, those that failed too.

    Raises:
        InputError: the queue knows no such study.
        EnvironmentUnfit: the queue cannot be read now.
    """
    with reading(root.database) as connection:
        row = (
            connection
            and connection.execute(
                "SELECT file FROM jobs WHERE directory = (SELECT whole FROM studies WHERE name = ?)",
                (study,),
            ).fetchone()
        )
        if connection is None or not row:
            raise InputError(
                study, "no such study in the queue", "`husai-engine status` lists them"
            )
        file = json.loads(row["file"])
        asked = [
            (str(one["title"]), str(file["inputs"][one["role"]]))
            for one in file["config"].get("cohorts", ())
        ]
        jobs = list_jobs(connection, directories=[directory for _, directory in asked])
    known = {job["directory"]: job for job in jobs}
    return [
        CohortJob(title, directory, known[directory]["state"], known[directory]["reason"])
        for title, directory in asked
        if directory in known
    ]


def find_analysis(root: RunsRoot, study: str, title: str) -> RunDirectory:
    """Return the run directory of the finished analysis of a cohort.

    Raises:
        InputError: there is no such study or cohort.
        JobFailed: it is not analysed yet, or never will be.
        EnvironmentUnfit: the queue cannot be read now.
    """
    cohorts = list_cohorts(root, study)
    found = next((cohort for cohort in cohorts if cohort.title == title), None)
    if found is None:
        raise unknown_cohort(study, title, [cohort.title for cohort in cohorts])
    run = root.run(found.directory)
    if run.done():
        return run
    if found.state in LOST:
        raise JobFailed(f"{study}: {title} has no analysis: {found.reason or found.state}")
    if found.state == "done":
        again = f"`husai-engine run {study}` makes it again"
        raise JobFailed(f"{study}: the analysis of {title} was removed; {again}")
    state = "under way" if found.state == "running" else found.state
    raise JobFailed(f"{study}: {title} is not analysed yet: its analysis is {state}")


def unknown_cohort(study: str, title: str, known: list[str]) -> InputError:
    """Return the error for a title that a study does not have."""
    more = ", ..." if len(known) > SHOWN else ""
    want = f"one of {', '.join(known[:SHOWN])}{more}" if known else "a study with cohorts"
    return InputError(study, f"no cohort {title!r}", want)
