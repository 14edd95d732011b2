"""The plan: a study expanded under a placement into a graph of jobs, each with a content key."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from engine.study.fingerprint import content_key
from engine.study.profile import Placement
from engine.study.sae import Sae, sae_title
from engine.study.spec import Study


@dataclass(frozen=True)
class Job:
    """One unit of work: it reads its inputs' artifacts and fills one run directory."""

    kind: str
    """`subject`, `activations`, `cohort`, `analysis` or `report`."""
    name: str
    """Name for people, unique in the study."""
    key: str
    """Content key; the run directory is named after it."""
    config: dict[str, Any]
    """Settings that decide the result."""
    inputs: dict[str, str]
    """Role → directory of the job whose artifacts are read."""
    threads: int
    """Threads of its worker; fixed here because the number of threads decides the last digits."""
    slots: int
    """Slots that it takes."""
    policy: dict[str, Any] = field(default_factory=dict)
    """Settings that decide whether to go on, not what comes out; not part of the key."""
    work: float = 0.0
    """Size in units of its kind, for forecasts (see `forecast`)."""
    steps: int = 0
    """Optimizer steps, for progress; 0 where there are none."""

    @property
    def directory(self) -> str:
        """Name of the run directory below `jobs/`."""
        return f"{self.kind}-{self.key[:16]}"


@dataclass(frozen=True)
class Plan:
    """All jobs of a study, inputs before those that read them."""

    study: Study
    placement: Placement
    jobs: tuple[Job, ...]

    def waiting_for(self, job: Job) -> Iterator[Job]:
        """Yield the jobs whose artifacts a job reads."""
        directories = set(job.inputs.values())
        return (other for other in self.jobs if other.directory in directories)


class _Expansion:
    """Builds jobs under one placement."""

    def __init__(self, study: Study, placement: Placement) -> None:
        self.study, self.placement = study, placement
        self.numerics = placement.numerics()
        self.jobs: list[Job] = []

    def add(
        self,
        kind: str,
        name: str,
        config: dict[str, Any],
        inputs: dict[str, Job],
        *,
        threads: int | None = None,
        policy: dict[str, Any] | None = None,
        work: float = 0.0,
        steps: int = 0,
    ) -> Job:
        keys = {role: job.key for role, job in inputs.items()}
        # A job with threads of its own choice runs alone: nothing else could run beside it anyway.
        slots = self.placement.slots if threads else 1
        job = Job(
            kind=kind,
            name=name,
            key=content_key(kind, config, keys, self.numerics),
            config=config,
            inputs={role: job.directory for role, job in inputs.items()},
            threads=threads or self.placement.threads,
            slots=slots,
            policy=policy or {},
            work=work,
            steps=steps,
        )
        # Two settings with the same content (a study may ask twice) are one job.
        known = {other.key: other for other in self.jobs}
        if job.key not in known:
            self.jobs.append(job)
        return known.get(job.key, job)


def make_plan(study: Study, placement: Placement) -> Plan:
    """Expand a study: subject → activations per hook → cohorts → analyses → one report."""
    build = _Expansion(study, placement)
    subject_config = study.subject.model_dump(mode="json", exclude={"gates"})
    policy = {"gates": getattr(study.subject, "gates", "enforce")}
    subject = build.add(
        "subject",
        "subject",
        subject_config,
        {},
        threads=_subject_threads(study, placement),
        policy=policy,
        work=_subject_work(study),
    )
    cohorts: dict[str, tuple[Sae, dict[str, Job]]] = {}
    for hook in study.hooks:
        activations = build.add(
            "activations",
            f"activations {hook}",
            {"hook": hook},
            {"subject": subject},
            policy=policy,
        )
        for number, sae in enumerate(study.saes):
            sources = {"subject": subject, "activations": activations}
            cohorts[f"{hook} {number}"] = (
                sae,
                sources | _add_cohorts(build, activations, hook, sae),
            )
    # Analyses come after all cohorts: they are short, and a slot that takes one early ends the plan later.
    analyses = {
        f"analysis {name}": _add_analysis(build, name.split()[0], sae, sources)
        for name, (sae, sources) in cohorts.items()
    }
    report_config = {
        "name": study.name,
        "description": study.description,
        "study": study.model_dump(mode="json"),
        "profile": placement.profile,
        "analyses": list(analyses),
    }
    build.add("report", "report", report_config, {"subject": subject, **analyses}, policy=policy)
    return Plan(study, placement, tuple(build.jobs))


def _add_cohorts(build: _Expansion, activations: Job, hook: str, sae: Sae) -> dict[str, Job]:
    """Add the cohort of one setting at one hook, and its twin on surrogate data if that is asked."""
    study = build.study
    settings = {
        "sae": sae.model_dump(mode="json"),
        "training": study.training.model_dump(mode="json"),
        "seeds": list(study.seeds),
        "vary": sorted(study.vary),
    }
    twins: dict[str, dict[str, int] | None] = {"cohort": None}
    if study.analysis.surrogate:
        twins["surrogate"] = {"seed": study.analysis.surrogate_seed}
    title = _title(study, hook, sae)
    return {
        role: build.add(
            "cohort",
            title if surrogate is None else f"{title} surrogate",
            {**settings, "surrogate": surrogate},
            {"activations": activations},
            work=_cohort_work(study, sae, study.subject.hooks()[hook]),
            steps=cohort_steps(study),
        )
        for role, surrogate in twins.items()
    }


def _add_analysis(build: _Expansion, hook: str, sae: Sae, sources: dict[str, Job]) -> Job:
    study = build.study
    config = {"hook": hook, "analysis": study.analysis.model_dump(mode="json")}
    work = float(len(study.seeds) ** 2 * sae.d_sae**2)
    return build.add("analysis", f"analysis {_title(study, hook, sae)}", config, sources, work=work)


def _title(study: Study, hook: str, sae: Sae) -> str:
    return sae_title(sae) if len(study.hooks) == 1 else f"{sae_title(sae)} {hook}"


SMALL_STEP = 1 << 26
"""Multiplications of a training step that keep one thread busy; with fewer, a second one slows it down
(measured: p 41, 25 million, 9.2 s with one thread and 14.6 s with two; p 113, 200 million, 16 ms a step
with one thread and 9 ms with two)."""


def _subject_threads(study: Study, placement: Placement) -> int:
    subject = study.subject
    if subject.kind == "planted":
        return 1
    step = _subject_work(study) / subject.training.steps
    return max(1, min(placement.threads * placement.slots, round(step / SMALL_STEP)))


def _subject_work(study: Study) -> float:
    subject = study.subject
    if subject.kind == "planted":
        return float(subject.samples * subject.d_in)
    model = subject.transformer
    weights = model.layers * (4 * model.d_model**2 + 2 * model.d_model * model.d_mlp)
    return float(subject.training.steps * subject.training.batch_size * weights)


def _cohort_work(study: Study, sae: Sae, d_in: int) -> float:
    return float(study.training.epochs * sample_count(study) * len(study.seeds) * sae.d_sae * d_in)


def sample_count(study: Study) -> int:
    """Return the number of activations that the subject gives: p² pairs, or the planted samples."""
    subject = study.subject
    return subject.samples if subject.kind == "planted" else subject.modulus**2


def cohort_steps(study: Study) -> int:
    """Return the optimizer steps of a cohort: batches in all passes over the training share, for progress
    (mirror pairs that are held out together may make it one less)."""
    training = study.training
    kept = training_count(sample_count(study), training.held_out)
    return math.ceil(training.epochs * kept / min(training.batch_size, kept))


def training_count(samples: int, held_out: float) -> int:
    """Return how many of the activations are trained on; at least one is held out, one is kept."""
    return samples - min(max(1, round(samples * held_out)), samples - 1)
