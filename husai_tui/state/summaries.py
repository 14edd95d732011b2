"""Which study is compared: those with a report, the newest first, and those that will have one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.client.look import Snapshot
from engine.client.studies import read_summary, report_folder
from engine.disk.root import RunsRoot, is_name
from engine.errors import CorruptArtifact, HusaiError
from husai_tui.state.compare import Comparison
from husai_tui.state.runs import GLYPHS, progress, reason
from husai_tui.tones import Cell, Part

Mark = tuple[int, int, int]


@dataclass(frozen=True)
class Finding:
    """What is known of one study."""

    study: str = ""
    """Empty: the runs root has none."""
    comparison: Comparison | None = None
    """None: no report (yet)."""
    jobs: tuple[dict[str, Any], ...] = ()
    """Its jobs, where it is in the queue."""
    studies: tuple[str, ...] = field(default=())
    """Every study there is, those with a report first, newest first."""


class Summaries:
    """Reads the report of a study when it has changed."""

    def __init__(self, root: RunsRoot) -> None:
        self.root = root
        self._read: tuple[str, Mark, Comparison] | None = None

    def find(self, wanted: str, snapshot: Snapshot) -> Finding:
        """Return what is known of a study; of none in particular: the newest with a report.

        Raises:
            CorruptArtifact: its summary is torn, or none that this version can read.
        """
        studies = self._studies(snapshot)
        study = wanted or next(iter(studies), "")
        if not study:
            return Finding()
        jobs = tuple(job for job in snapshot.jobs if job["study"] == study)
        mark = self._mark(study)
        if mark is None:
            if study not in studies:
                read_summary(self.root.path, study)  # says which studies there are
            return Finding(study, None, jobs, studies)
        if self._read is None or self._read[:2] != (study, mark):
            self._read = (study, mark, self._compare(study))
        return Finding(study, self._read[2], jobs, studies)

    def _compare(self, study: str) -> Comparison:
        summary = read_summary(self.root.path, study)
        try:
            return Comparison(summary)
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            path = report_folder(self.root.path, study) / "summary.json"
            raise CorruptArtifact(
                f"{path}: no summary that this version reads ({type(error).__name__}: {error})"
            ) from None

    def _mark(self, study: str) -> Mark | None:
        if not is_name(study):
            return None
        try:
            found = (report_folder(self.root.path, study) / "summary.json").stat()
        except (OSError, HusaiError):
            return None
        return (found.st_ino, found.st_size, found.st_mtime_ns)

    def _studies(self, snapshot: Snapshot) -> tuple[str, ...]:
        marks = {
            path.parent.parent.name: _modified(path)
            for path in self.root.path.glob("*/report/summary.json")
        }
        done = sorted(marks, key=lambda name: (-marks[name], name))
        names = [study["name"] for study in reversed(snapshot.studies)]
        return (*done, *(name for name in names if name not in marks))


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def unfinished(finding: Finding) -> list[list[Part]]:
    """Say that a study has no report yet, and how its jobs stand."""
    jobs = finding.jobs
    if not finding.study:
        return [
            [("no study has a report here", "strong")],
            [("5 builds a sweep; `husai-engine run smoke` takes a minute", "faint")],
        ]
    counts: dict[str, int] = {}
    for job in jobs:
        counts[job["state"]] = counts.get(job["state"], 0) + 1
    lines: list[list[Part]] = [
        [(finding.study, "strong"), ("  has no report yet", "")],
        [],
    ]
    if not jobs:
        lines[1] = [(f"`husai-engine run {finding.study}` finishes it", "faint")]
        return lines
    said: list[Part] = [(f"{counts.get('done', 0)} of {len(jobs)} jobs done", "")]
    for state, (glyph, tone) in GLYPHS.items():
        if state != "done" and counts.get(state):
            said.append((f"   {glyph} {counts[state]} {state}", tone))
    lines[1] = said
    if counts.get("done", 0) == len(jobs):
        lines.append([(f"`husai-engine run {finding.study}` makes the report anew", "faint")])
    lines.append([])
    for job in sorted(jobs, key=lambda job: list(GLYPHS).index(job["state"])):
        glyph, tone = GLYPHS.get(job["state"], ("?", "warn"))
        bar = _text(progress(job))
        why = reason(job)
        lines.append(
            [
                (f"{glyph} {job['state']:<10}", tone),
                (f"{job['name']}", ""),
                (f"   {bar}" if bar else "", "accent"),
                (f"   {why}" if why else "", "bad" if job["state"] == "failed" else "faint"),
            ]
        )
    return lines


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]
