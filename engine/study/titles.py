"""Names of jobs: what tells a cohort from the others of its study, and no more."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import JsonValue

from engine.study.recipe import SaeTraining
from engine.study.sae import DEAD_TITLES, Sae, sae_title
from engine.study.search import Values, compact
from engine.study.spec import Analysis, Point, Study

Settings = dict[str, JsonValue]
"""Name of a setting, as a title gives it → value."""
_SAE_FIELDS = {name for model in get_args(get_args(Sae)[0]) for name in model.model_fields}
_DEAD = "dead.method"
_SHOWN = {"architecture", "d_sae", "k", "l1"}
"""Settings of an SAE that its title shows by itself."""


@dataclass(frozen=True)
class Entry:
    """One SAE setting at one hook of one point."""

    point: Point
    hook: str
    number: int
    """Its place in the point's `saes`."""

    @property
    def sae(self) -> Sae:
        """Return the settings themselves."""
        return self.point.study.saes[self.number]

    @property
    def values(self) -> Values:
        """Return the searched values, without those of the other settings of `saes`."""
        others = {str(number) for number in range(len(self.point.study.saes))} - {str(self.number)}
        return {
            path: value
            for path, value in self.point.values.items()
            if not (path.startswith("saes.") and path.split(".")[1] in others)
        }


def entries(points: Iterable[Point]) -> list[Entry]:
    """Return every SAE setting at every hook of every point, in the order of the plan."""
    return [
        Entry(point, hook, number)
        for point in points
        for hook in point.study.hooks
        for number in range(len(point.study.saes))
    ]


def count_saes(study: Study) -> int:
    """Return how many SAEs a study trains, those on surrogate data left out; what points share is one."""
    cohorts = {
        json.dumps({"hook": entry.hook, **_cohort(entry)}, sort_keys=True): entry
        for entry in entries(study.points())
    }
    return sum(len(entry.point.study.seeds) for entry in cohorts.values())


def subject_titles(points: Sequence[Point]) -> list[str]:
    """Return what tells the subject of each point from the others: `subject`, `subject weight_decay 1`."""
    settings = [_subject(point) for point in points]
    varied = _varied(settings)
    return [
        _join("subject", {name: one.get(name) for name in varied if name in one})
        for one in settings
    ]


def cohort_titles(found: Sequence[Entry]) -> list[str]:
    """Return the title of each cohort: its SAE settings, the hook if there are several, searched values,
    and whatever else differs between cohorts of the same title."""
    several = len({entry.hook for entry in found}) > 1
    bases = [f"{sae_title(e.sae)} {e.hook}" if several else sae_title(e.sae) for e in found]
    return _tell_apart(
        bases,
        [_cohort(entry) for entry in found],
        [_searched(entry) for entry in found],
        [_usual(entry.sae) for entry in found],
    )


def analysis_titles(found: Sequence[Entry], cohorts: Sequence[str]) -> list[str]:
    """Return the title of each analysis: the cohort's, and what differs in how it is measured."""
    settings = [_analysis(entry) for entry in found]
    searched = [
        {_name(path) for path in e.point.values if path.startswith("analysis.")} for e in found
    ]
    return _tell_apart(list(cohorts), settings, [sorted(names) for names in searched])


def seeds_title(seeds: Sequence[int]) -> str:
    """Return the seeds of a part of a cohort: `seeds 1-8`, `seeds 42,123,456`."""
    if len(seeds) > 1 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"seeds {seeds[0]}-{seeds[-1]}"
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {','.join(map(str, seeds))}"


def _usual(sae: Sae) -> Settings:
    """Return what the settings of an SAE are where a study says nothing."""
    defaults = {
        name: field.default.model_dump(mode="json")
        if hasattr(field.default, "model_dump")
        else field.default
        for name, field in type(sae).model_fields.items()
        if not field.is_required()
    }
    return _flat(defaults)


def _tell_apart(
    bases: list[str],
    settings: list[Settings],
    searched: Sequence[Sequence[str]],
    usual: Sequence[Settings] | None = None,
) -> list[str]:
    """Return titles that differ where settings do: searched values, and what is not as usual."""
    known = usual or [{} for _ in bases]
    groups: dict[str, list[Settings]] = {}
    for base, one in zip(bases, settings, strict=True):
        groups.setdefault(base, []).append(one)
    varied = {base: _varied(group) for base, group in groups.items()}
    titles = []
    for base, one, names, plain in zip(bases, settings, searched, known, strict=True):
        telling = [n for n in varied[base] if n not in plain or plain[n] != one.get(n)]
        group = [other for other in groups[base] if other.get(_DEAD) == one.get(_DEAD)]
        telling = _short_of_dead(telling, varied[base], _varied(group))
        shown = [name for name in dict.fromkeys([*names, *telling]) if name in one]
        titles.append(_join(base, {n.removeprefix("stability."): one[n] for n in shown}))
    return titles


def _short_of_dead(telling: list[str], varied: list[str], varied_beside: list[str]) -> list[str]:
    """Return telling names where the treatment of dead latents stands for settings that only it has.

    Args:
        telling: names of what is not as usual in one cohort.
        varied: names of what is not the same in all cohorts of its title.
        varied_beside: the same among those that treat dead latents alike.
    """
    if _DEAD not in varied or not any(name.startswith("dead.") for name in telling):
        return telling
    rest = [
        name
        for name in telling
        if name != _DEAD and (not name.startswith("dead.") or name in varied_beside)
    ]
    return [_DEAD, *rest]


def _join(base: str, values: Values) -> str:
    return " ".join([base, *(_told(name, value) for name, value in values.items())])


def _told(name: str, value: JsonValue) -> str:
    if name == _DEAD and isinstance(value, str) and value in DEAD_TITLES:
        return DEAD_TITLES[value]
    return f"{name} {compact(value)}"


def _varied(settings: Sequence[Settings]) -> list[str]:
    """Return the names of settings that are not the same everywhere."""
    texts: dict[str, set[str]] = {}
    for one in settings:
        for name, value in one.items():
            texts.setdefault(name, set()).add(repr(value))
    return [
        name
        for name, values in texts.items()
        if len(values) > 1 or any(name not in one for one in settings)
    ]


def _cohort(entry: Entry) -> Settings:
    """Return all that decides the weights of a cohort."""
    study = entry.point.study
    shared = {
        "seeds": list(study.seeds),
        "vary": sorted(study.vary),
        "training": study.training.model_dump(mode="json"),
    }
    named = {_name(path): value for path, value in _flat(shared).items()}
    return _flat(entry.sae.model_dump(mode="json")) | named | _subject(entry.point)


def _analysis(entry: Entry) -> Settings:
    """Return how a cohort is measured; the surrogate's seed decides nothing where there is none."""
    options = entry.point.study.analysis
    unused = set() if options.surrogate else {"surrogate_seed"}
    data = {"analysis": options.model_dump(mode="json", exclude=unused)}
    return {_name(path): value for path, value in _flat(data).items()}


def _subject(point: Point) -> Settings:
    data = {"subject": point.study.subject.model_dump(mode="json", exclude={"gates"})}
    return {_name(path): value for path, value in _flat(data).items()}


def _flat(data: Any, path: str = "") -> Settings:
    """Return the leaves of nested blocks by dotted path; lists are leaves."""
    if not isinstance(data, dict):
        return {path: data}
    found: Settings = {}
    for key, value in data.items():
        found |= _flat(value, f"{path}.{key}" if path else key)
    return found


def _name(path: str) -> str:
    """Return a key path as a title gives it: without its block where no other block has such a key."""
    block, _, rest = path.partition(".")
    if block in ("training", "analysis") and rest:
        return rest
    last = path.rsplit(".", 1)[-1]
    taken = last in SaeTraining.model_fields or last in Analysis.model_fields or last in _SAE_FIELDS
    return path if block != "subject" or taken else last


def _searched(entry: Entry) -> list[str]:
    """Return the names of the searched settings of a cohort that its title does not show by itself."""
    names = []
    for path in entry.values:
        keys = path.split(".")
        if keys[0] == "analysis":
            continue
        if keys[0] != "saes":
            names.append(_name(path))
        elif len(keys) > 2:
            names.append(".".join(keys[2:]))
    return [name for name in names if name not in _shown(entry.sae)]


def _shown(sae: Sae) -> set[str]:
    if sae.architecture != "jumprelu":
        return _SHOWN
    return _SHOWN | {"target_l0" if sae.target_l0 else "l0"}
