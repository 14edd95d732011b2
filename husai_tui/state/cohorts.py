"""Which cohort of which study is open: read again when its file changes, kept when the file is gone."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.client.features import Features, cohorts, open_features
from engine.client.look import Snapshot
from engine.client.studies import read_summary
from engine.disk.root import RunsRoot
from engine.disk.rundir import FEATURES
from engine.errors import EnvironmentUnfit, HusaiError, InputError

MOST_STUDIES = 40
"""Newest studies that are asked for an analysis when nobody said which to open."""
_PLACE = re.compile(r"#(?P<seed>-?\d+)?(?::(?P<feature>\d+))?$")


@dataclass(frozen=True)
class Target:
    """What an address names: `STUDY/COHORT TITLE#seed:feature`; every part may be missing."""

    study: str = ""
    cohort: str = ""
    seed: int | None = None
    feature: int | None = None

    @classmethod
    def read(cls, text: str) -> Target:
        """Read an address."""
        found = _PLACE.search(text)
        seed = feature = None
        if found:
            text = text[: found.start()]
            seed = None if found["seed"] is None else int(found["seed"])
            feature = None if found["feature"] is None else int(found["feature"])
        study, _, cohort = text.strip().partition("/")
        return cls(study.strip(), cohort.strip(), seed, None if seed is None else feature)

    def __str__(self) -> str:
        text = self.study + (f"/{self.cohort}" if self.cohort else "")
        if self.seed is not None:
            text += f"#{self.seed}" + ("" if self.feature is None else f":{self.feature}")
        return text


@dataclass(frozen=True)
class Choice:
    """A cohort that can be opened, or why it cannot."""

    study: str
    title: str
    state: str
    """Of its analysis, as the queue says; `done` where only a report is left."""
    directory: str = ""
    """Run directory of the analysis; empty: it is read from the report."""


@dataclass(frozen=True)
class Opened:
    """What is open now."""

    target: Target = Target()
    """Study and cohort that were asked for, or found."""
    features: Features | None = None
    choices: tuple[Choice, ...] = ()
    """Cohorts of the study."""
    problem: str = ""
    """Why nothing is open, or why what is shown may be out of date."""


class Shelf:
    """Opens cohorts below a runs root. `look` is called in a thread, one at a time."""

    def __init__(
        self,
        root: RunsRoot,
        read: Callable[[Path, str, str], Features] = open_features,
        listed: Callable[[Path, str], Sequence[Any]] = cohorts,
    ) -> None:
        self._root, self._read, self._listed = root, read, listed
        self._asked: tuple[Any, ...] = ()
        self._known: dict[str, tuple[Choice, ...]] = {}
        self._last = Opened()
        self._mark: tuple[Any, ...] | None = None
        """Of the file as it was last read, or could not be read; None: try again."""

    def look(self, wanted: Target, snapshot: Snapshot) -> Opened:
        """Return what is wanted, read anew only if it has changed.

        Raises:
            EnvironmentUnfit: the queue cannot be read now.
        """
        self._forget(snapshot)
        study = wanted.study or self._newest(snapshot)
        if not study:
            return Opened()
        try:
            choices = self.choices(study)
        except EnvironmentUnfit:
            raise
        except HusaiError as error:
            return self._without(Target(study, wanted.cohort), (), str(error))
        title = wanted.cohort or _first(choices)
        if not title:
            states = ", ".join(sorted({choice.state for choice in choices}))
            why = f"is not analysed yet ({states})" if choices else "has no cohorts"
            return self._without(Target(study), choices, f"{study} {why}")
        return self._open(Target(study, title), choices)

    def choices(self, study: str) -> tuple[Choice, ...]:
        """Return the cohorts of a study: from the queue, else from its report."""
        if study not in self._known:
            try:
                found = self._listed(self._root.path, study)
                listed = [Choice(study, one.title, one.state, one.directory) for one in found]
            except InputError:
                if not (self._root.report(study) / FEATURES).is_file():
                    raise
                told = read_summary(self._root.path, study)["cohorts"]
                listed = [Choice(study, str(one["title"]), "done") for one in told]
            self._known[study] = tuple(listed)
        return self._known[study]

    def every(self, snapshot: Snapshot) -> list[Choice]:
        """Return the analysed cohorts of all studies, the newest study first."""
        found: list[Choice] = []
        for study in self._studies(snapshot):
            try:
                found += [one for one in self.choices(study) if one.state == "done"]
            except (HusaiError, OSError):
                continue
        return found

    def _forget(self, snapshot: Snapshot) -> None:
        """Ask the queue again if an analysis has ended, or a study has come or gone."""
        analyses = [(job["directory"], job["state"]) for job in snapshot.jobs if _counts(job)]
        asked = (*analyses, *(study["name"] for study in snapshot.studies))
        if asked != self._asked:
            self._asked, self._known = asked, {}

    def _studies(self, snapshot: Snapshot) -> list[str]:
        newest = [str(study["name"]) for study in reversed(snapshot.studies)]
        copied = [path.parent.parent.name for path in self._root.path.glob(f"*/report/{FEATURES}")]
        return [*newest, *sorted(set(copied) - set(newest))][:MOST_STUDIES]

    def _newest(self, snapshot: Snapshot) -> str:
        for study in self._studies(snapshot):
            try:
                if _first(self.choices(study)):
                    return study
            except HusaiError:
                continue
        return ""

    def _open(self, target: Target, choices: tuple[Choice, ...]) -> Opened:
        mark = self._fingerprint(target, choices)
        if self._last.target == target and mark == self._mark:
            self._last = replace(self._last, choices=choices)
            return self._last
        self._mark = None
        try:
            features = self._read(self._root.path, target.study, target.cohort)
            # Here, in the thread: what the first painting would else wait for.
            _ = features.mutual, features.margin
            self._last = Opened(target, features, choices)
        except EnvironmentUnfit:
            raise
        except (HusaiError, OSError) as error:
            self._without(target, choices, str(error))
        self._mark = mark
        return self._last

    def _without(self, target: Target, choices: tuple[Choice, ...], problem: str) -> Opened:
        """Say what is wrong; what was read of the same cohort before stays."""
        kept = self._last.features if self._last.target == target else None
        if kept:
            problem = f"shown is what was read before: {problem}"
        self._last, self._mark = Opened(target, kept, choices, problem), None
        return self._last

    def _fingerprint(self, target: Target, choices: tuple[Choice, ...]) -> tuple[Any, ...]:
        """Return what changes when the analysis goes on, and when its file is written anew or goes away."""
        found = next((one for one in choices if one.title == target.cohort), None)
        if found is None:
            return ("unknown",)
        folder = self._root.report(target.study)
        if found.directory:
            folder = self._root.run(found.directory).artifacts
        try:
            told = (folder / FEATURES).stat()
        except OSError:
            return (found.state,)
        return (found.state, told.st_ino, told.st_size, told.st_mtime_ns)


def _counts(job: dict[str, Any]) -> bool:
    return job.get("kind") == "analysis"


def _first(choices: Sequence[Choice]) -> str:
    return next((choice.title for choice in choices if choice.state == "done"), "")
