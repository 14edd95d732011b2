"""The plan: a study expanded under a placement into a graph of jobs, each with a content key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

from engine.errors import InputError
from engine.study import sizes
from engine.study.fingerprint import content_key
from engine.study.profile import Placement
from engine.study.sae import Sae
from engine.study.search import point_at
from engine.study.spec import Point, Study
from engine.study.steps import check_schedules, cohort_steps, training_count
from engine.study.supply import (
    hook_width,
    looked_at,
    reading_memory,
    sample_count,
    subject_config,
    subject_policy,
    subject_threads,
    subject_work,
)
from engine.study.titles import (
    Entry,
    analysis_titles,
    cohort_titles,
    entries,
    seeds_title,
    subject_titles,
)


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
    memory_bytes: int = 0
    """Memory that its worker is expected to need."""
    disk_bytes: int = 0
    """What it is expected to leave on disk."""

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
    points: tuple[Point, ...]
    """What the search asks for; one point without values where there is no search."""

    @property
    def report(self) -> Job:
        """The last job, which gathers what the others found."""
        return self.jobs[-1]

    def waiting_for(self, job: Job) -> Iterator[Job]:
        """Yield the jobs whose artifacts a job reads."""
        return (self._made[name] for name in dict.fromkeys(job.inputs.values()))

    @cached_property
    def _made(self) -> dict[str, Job]:
        return {job.directory: job for job in self.jobs}


class _Expansion:
    """Builds jobs under one placement."""

    def __init__(self, placement: Placement) -> None:
        self.placement = placement
        self.numerics = placement.numerics()
        self.jobs: dict[str, Job] = {}

    def add(
        self,
        kind: str,
        name: str,
        config: dict[str, Any],
        inputs: dict[str, Job],
        *,
        threads: int | None = None,
        slots: int | None = None,
        policy: dict[str, Any] | None = None,
        work: float = 0.0,
        steps: int = 0,
        memory: int = 0,
        disk: int = 0,
    ) -> Job:
        keys = {role: job.key for role, job in inputs.items()}
        # A job with threads of its own choice runs alone: nothing else could run beside it anyway.
        slots = slots or (self.placement.slots if threads else 1)
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
            memory_bytes=memory,
            disk_bytes=disk,
        )
        # Two settings with the same content (a study may ask twice) are one job.
        return self.jobs.setdefault(job.key, job)


@dataclass(frozen=True)
class _Cohort:
    """One cohort of the plan: its setting, its names, and the jobs that its analysis reads."""

    entry: Entry
    title: str
    analysis_title: str
    sources: dict[str, Job]


def make_plan(study: Study, placement: Placement) -> Plan:
    """Expand a study: for each point subject → activations per hook → cohorts → analyses, and one report.

    Raises:
        InputError: a search that names nothing, a warm-up longer than the training, or SAEs that no worker
            has the memory for.
    """
    points = study.points()
    for point in points:
        check_schedules(point, point_at(point.values))
    build = _Expansion(placement)
    subjects = {
        id(point): _add_subject(build, point.study, name)
        for point, name in zip(points, subject_titles(points), strict=True)
    }
    found = entries(points)
    titles = cohort_titles(found)
    analysed = analysis_titles(found, titles)
    cohorts = []
    for entry, title, analysis_title in zip(found, titles, analysed, strict=True):
        subject = subjects[id(entry.point)]
        activations = _add_activations(build, entry, subject)
        sources = {"subject": subject, "activations": activations}
        sources |= _add_cohorts(build, activations, entry, title, _surrogates_differ(points))
        if has_untrained(entry.point.study):
            before = _add_activations(build, entry, subject, untrained=True)
            sources |= _add_twin(build, before, entry, "untrained", f"{title} untrained")
        cohorts.append(_Cohort(entry, title, analysis_title, sources))
    # Analyses come after all cohorts: they are short, and a slot that takes one early ends the plan later.
    analyses: dict[str, tuple[Job, _Cohort]] = {}
    threads = _analysis_threads(len(cohorts), placement)
    for cohort in cohorts:
        job = _add_analysis(build, cohort, threads)
        analyses.setdefault(job.key, (job, cohort))
    _add_report(build, study, list(analyses.values()))
    return Plan(study, placement, tuple(build.jobs.values()), points)


def _add_subject(build: _Expansion, study: Study, name: str) -> Job:
    return build.add(
        "subject",
        name,
        subject_config(study),
        {},
        threads=subject_threads(study, build.placement),
        policy=subject_policy(study),
        work=subject_work(study),
        memory=reading_memory(study, study.hooks),
        disk=sizes.SMALL_DISK,
    )


def has_untrained(study: Study) -> bool:
    """Return whether cohorts have twins on the untrained subject; other subjects have no model to train."""
    return study.analysis.untrained and study.subject.kind == "modular"


def _add_activations(build: _Expansion, entry: Entry, subject: Job, untrained: bool = False) -> Job:
    study = entry.point.study
    samples, d_in = sample_count(study), hook_width(study, entry.hook)
    of = subject.name.removeprefix("subject")
    return build.add(
        "activations",
        f"activations {entry.hook}{of}{' untrained' if untrained else ''}",
        {"hook": entry.hook, **({"untrained": True} if untrained else {})},
        {"subject": subject},
        policy=subject.policy,
        memory=reading_memory(study, [entry.hook]),
        disk=sizes.activations_disk(samples, d_in),
    )


def _surrogates_differ(points: Sequence[Point]) -> bool:
    return len({point.study.analysis.surrogate_seed for point in points}) > 1


def _add_cohorts(
    build: _Expansion, activations: Job, entry: Entry, title: str, name_surrogate: bool
) -> dict[str, Job]:
    """Add the cohort of one setting at one hook, and its twin on surrogate data if that is asked."""
    options = entry.point.study.analysis
    jobs = _add_twin(build, activations, entry, "cohort", title)
    if options.surrogate:
        number = f" {options.surrogate_seed}" if name_surrogate else ""
        jobs |= _add_twin(build, activations, entry, "surrogate", f"{title} surrogate{number}")
    return jobs


def _add_twin(
    build: _Expansion, activations: Job, entry: Entry, role: str, title: str
) -> dict[str, Job]:
    """Add a cohort or a twin of it, in as many parts as memory demands, by role."""
    study, sae = entry.point.study, entry.sae
    settings = {
        "sae": sae.model_dump(mode="json"),
        "training": study.training.model_dump(mode="json"),
        "vary": sorted(study.vary),
        "surrogate": {"seed": study.analysis.surrogate_seed} if role == "surrogate" else None,
        **({"untrained": True} if role == "untrained" else {}),
    }
    d_in = hook_width(study, entry.hook)
    parts = _parts(build.placement, entry, title, d_in)
    jobs = {}
    for number, seeds in enumerate(parts):
        part = f" {seeds_title(seeds)}" if len(parts) > 1 else ""
        jobs[f"{role}.{number}" if number else role] = build.add(
            "cohort",
            f"{title}{part}",
            {**settings, "seeds": list(seeds)},
            {"activations": activations},
            work=_cohort_work(study, sae, d_in, len(seeds)),
            steps=cohort_steps(study),
            memory=_cohort_size(study, sae, d_in, build.placement).memory(len(seeds)),
            disk=sizes.cohort_disk(sae, d_in, len(seeds)),
        )
    return jobs


def _cohort_size(study: Study, sae: Sae, d_in: int, placement: Placement) -> sizes.CohortSize:
    batch = study.training.batch_size
    kept = training_count(sample_count(study), study.training.held_out)
    half = placement.precision == "bfloat16"
    return sizes.CohortSize(
        sae, d_in, min(batch, kept), sample_count(study), placement.device, half
    )


def _parts(placement: Placement, entry: Entry, title: str, d_in: int) -> list[tuple[int, ...]]:
    """Return the seeds of each part of a cohort: one part where memory allows it, else parts of even size."""
    study, sae = entry.point.study, entry.sae
    budget = placement.slot_memory_bytes
    size = _cohort_size(study, sae, d_in, placement)
    if size.memory(0) > budget:
        return [study.seeds]  # no setting of the SAE would help; whoever runs the plan refuses it
    width = size.width(budget)
    where = f"{study.name}: saes.{entry.number}"
    have = f"a worker of profile {placement.profile} has {budget >> 20} MB{placement.memory_note}"
    wanted = "a smaller d_sae, fewer slots, or a larger memory_share"
    if width < 1:
        need = size.memory(1) >> 20
        raise InputError(where, f"one seed of {title} needs about {need} MB, {have}", wanted)
    if width < len(study.seeds) and sae.stability.consistency > 0:
        need = size.memory(len(study.seeds)) >> 20
        together = f"the {len(study.seeds)} seeds of {title} train together (stability.consistency)"
        raise InputError(
            where, f"{together} and need about {need} MB, {have}", f"{wanted}, fewer seeds"
        )
    return even_parts(study.seeds, width)


def even_parts(seeds: Sequence[int], width: int) -> list[tuple[int, ...]]:
    """Split seeds, in order, into the fewest parts of at most `width`; their sizes differ by one at most."""
    count = -(-len(seeds) // width)
    bounds = [number * len(seeds) // count for number in range(count + 1)]
    return [tuple(seeds[low:high]) for low, high in pairwise(bounds)]


def _analysis_threads(count: int, placement: Placement) -> int:
    """Return the threads of each of so many analyses: the cores are shared among those that run at once."""
    return max(1, placement.slots * placement.threads // min(placement.slots, count))


def _add_analysis(build: _Expansion, cohort: _Cohort, threads: int) -> Job:
    study, sae = cohort.entry.point.study, cohort.entry.sae
    return build.add(
        "analysis",
        f"analysis {cohort.analysis_title}",
        {"hook": cohort.entry.hook, "analysis": study.analysis.model_dump(mode="json")},
        cohort.sources,
        threads=threads,
        slots=-(-threads // build.placement.threads),
        work=float(len(study.seeds) ** 2 * sae.d_sae**2),
        memory=sizes.analysis_memory(sae, looked_at(study, sae.d_sae), len(study.seeds), threads),
        disk=sizes.SMALL_DISK,
    )


def _add_report(build: _Expansion, study: Study, analyses: list[tuple[Job, _Cohort]]) -> Job:
    """Add the job that gathers everything; its settings say which point each input belongs to."""
    subjects: dict[str, dict[str, Any]] = {}
    inputs: dict[str, Job] = {}
    cohorts = []
    for job, cohort in analyses:
        subject, values = cohort.sources["subject"], cohort.entry.values
        if subject.key not in subjects:
            role = f"subject.{len(subjects)}" if subjects else "subject"
            own = {path: value for path, value in values.items() if _of_subject(path)}
            subjects[subject.key] = {"role": role, "title": subject.name, "point": own}
            inputs[role] = subject
        cohorts.append(
            {
                "role": job.name,
                "title": cohort.analysis_title,
                "point": values,
                "subject": subjects[subject.key]["role"],
            }
        )
        inputs[job.name] = job
    config = {
        "name": study.name,
        "description": study.description,
        "study": study.model_dump(mode="json"),
        "profile": build.placement.profile,
        "subjects": list(subjects.values()),
        "cohorts": cohorts,
        "failed": {},
    }
    first = analyses[0][1].sources["subject"]
    memory = sizes.reading_memory(0, 0)
    return build.add(
        "report",
        "report",
        config,
        inputs,
        policy=first.policy,
        memory=memory,
        disk=sizes.SMALL_DISK,
    )


def _of_subject(path: str) -> bool:
    return path.split(".")[0] == "subject"


def _cohort_work(study: Study, sae: Sae, d_in: int, seeds: int) -> float:
    return float(study.training.epochs * sample_count(study) * seeds * sae.d_sae * d_in)
