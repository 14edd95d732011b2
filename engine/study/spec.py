"""A study: one subject, hooks, SAE settings, seeds, training, analysis; and how it is read."""

from __future__ import annotations

import contextlib
import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from engine.errors import InputError
from engine.study.model import Config, refuse
from engine.study.recipe import SaeTraining
from engine.study.refusal import explain, explain_all, find_unplain, suggest
from engine.study.sae import Sae
from engine.study.search import (
    Place,
    Search,
    Values,
    assign,
    compact,
    entry_number,
    find_places,
    point_at,
)
from engine.study.subject import Fraction, Seed, Subject

PRESETS = Path(__file__).parent / "presets"
RESERVED = frozenset({"jobs", "inbox", "supervisor"})
SIZE_CAP = 1 << 20
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"
HOOK = r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,79}"
"""What the hook of recorded activations may be called."""


class Analysis(Config):
    """What is measured on the finished cohorts."""

    sign: Literal["signed", "abs"] = "signed"
    """Cosine convention; −f is another feature than f for a non-negative code."""
    surrogate: bool = True
    """Retrain every cohort on Gaussian data of the same mean and covariance (null N3)."""
    surrogate_seed: Seed = 0
    """Seed of the Gaussian data."""
    untrained: bool = False
    """Train every cohort on the subject before its training, too (N4): what does the model's training add?"""
    draws: Annotated[int, Field(ge=20, le=10_000)] = 20
    """Random dictionaries per Monte Carlo null."""
    tau: Annotated[tuple[Fraction, ...], Field(min_length=1)] = (0.5, 0.7, 0.9)
    """Thresholds of the shared fraction."""


class Study(Config):
    """A study file, checked."""

    name: Annotated[str, Field(pattern=NAME)]
    """Name of the study and of its folder under the runs root."""
    description: str = ""
    """One sentence for lists."""
    subject: Subject
    """What the SAEs are trained on."""
    hooks: Annotated[tuple[str, ...], Field(min_length=1)]
    """Where activations are read (TransformerLens hook names); of `external`, one name of your choice."""
    saes: Annotated[tuple[Sae, ...], Field(min_length=1)]
    """SAE settings; each makes one cohort per hook."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    """Seeds of the SAEs, two at least; three give an interval, five are recommended."""
    vary: Annotated[tuple[Literal["init", "order"], ...], Field(min_length=1)] = ("init",)
    """What a seed changes: the initial weights, the order of batches, or both."""
    training: SaeTraining = SaeTraining()
    """Optimisation of the SAEs."""
    analysis: Analysis = Analysis()
    """Metrics and nulls."""
    search: Search | None = None
    """Values for any keys above; each combination is a point, with cohorts of its own in one report."""

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        if self.name in RESERVED:
            raise refuse("name", f"{self.name!r} is reserved", "another name")
        if len(self.seeds) < 2:
            raise refuse("seeds", "one seed has nothing to agree with", "two, better five")
        repeated = sorted({str(seed) for seed in self.seeds if self.seeds.count(seed) > 1})
        if repeated:
            raise refuse("seeds", f"{', '.join(repeated)} is there twice", "every seed once")
        for kind, values in (("hooks", self.hooks), ("vary", self.vary), ("saes", self.saes)):
            if len({json.dumps(v, default=repr) for v in values}) < len(values):
                raise refuse(kind, "has an entry twice", "every entry once")
        known = self.subject.hook_names()
        if not known and len(self.hooks) > 1:
            raise refuse(
                "hooks", "files hold the activations of one hook", "one name, or a study for each"
            )
        for hook in self.hooks:
            if not known and not re.fullmatch(HOOK, hook):
                raise refuse(
                    "hooks", f"got {hook!r}", "a name of letters, digits and . _ - / : at most 80"
                )
            if known and hook not in known:
                raise refuse(
                    "hooks",
                    f"the subject has no hook {hook!r}",
                    "one of " + ", ".join(sorted(known)),
                )
        for number, sae in enumerate(self.saes):
            if sae.stability.shared_init and "order" not in self.vary:
                raise refuse(
                    f"saes.{number}.stability.shared_init",
                    "all seeds would be the same SAE: nothing is left for them to differ in",
                    "`vary: [init, order]` or `vary: [order]` beside it",
                )
        return self

    def points(self, where: str = "study") -> tuple[Point, ...]:
        """Return the studies that the search asks for, or this one alone; `where` names it in errors.

        Raises:
            InputError: a searched key names nothing, or a field refuses a searched value.
        """
        if self.search is None:
            return (Point({}, self),)
        every = self.model_dump(mode="json", exclude={"search"})
        # Only what was written: another architecture has other fields, and defaults of its own.
        written = self.model_dump(mode="json", exclude={"search"}, exclude_unset=True)
        places = find_places(self.search, every, where)
        found = []
        for values in self.search.points():
            data = copy.deepcopy(written)
            for path, value in values.items():
                for place in places[path]:
                    assign(data, every, place, value)
            found.append(Point(values, _check_point(data, values, places, where)))
        return tuple(found)


@dataclass(frozen=True)
class Point:
    """One combination of the searched values."""

    values: Values
    """Key path → value; empty without a search."""
    study: Study
    """The study with these values in place, and no search."""


def _check_point(
    data: dict[str, Any], values: Values, places: Mapping[str, list[Place]], where: str
) -> Study:
    """Check the plain data of a point; an error names the searched key that it comes from."""
    try:
        return Study.model_validate_json(json.dumps(data, allow_nan=False))
    except ValidationError as error:
        said = explain(error, Study, "")
        at = said.where.removeprefix(": ")
        path = _cause(at, places)
        with_others = f" (point {point_at(values)})" if len(values) > 1 else ""
        raise InputError(
            f"{where}: search.over.{path}",
            f"{compact(values[path])} is refused{with_others}: {at}: {said.what}",
            said.want,
        ) from None


def _cause(at: str, places: Mapping[str, list[Place]]) -> str:
    """Return the searched key that lies nearest to where an error is."""

    def common(path: str) -> int:
        pairs = [zip(map(str, place), at.split("."), strict=False) for place in places[path]]
        return max(sum(1 for _ in takewhile(lambda p: p[0] == p[1], pair)) for pair in pairs)

    return max(places, key=common)


def read_study(name_or_path: str, overrides: Sequence[str] = ()) -> Study:
    """Read a preset or a study file and apply `--set` overrides.

    Args:
        name_or_path: name of a preset, or path of a YAML file.
        overrides: `key.path=value` pairs; the value is YAML, list items are addressed by number.

    Raises:
        InputError: `file: key.path: what is wrong: what would be right`.
    """
    path = find_study(name_or_path)
    data = locate(read_yaml(path), path.parent)
    for override in overrides:
        apply_override(data, override)
    return check_study(data, where=str(path) if path.parent != PRESETS else path.name)


def check_study(data: object, where: str) -> Study:
    """Check plain data against the study model; `where` names its file in errors.

    Paths that are still relative begin at the current folder, as those on a command line do.
    """
    data = locate(data, Path.cwd())
    if data is None:
        raise InputError(where, "is empty", "a study: name, subject, hooks, saes, seeds")
    if (unplain := find_unplain(data)) is not None:
        raise InputError(f"{where}: {unplain.where}", unplain.what, unplain.want)
    try:
        study = Study.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise explain(error, Study, where) from None
    study.points(where)
    return study


def locate(data: Any, folder: Path) -> Any:
    """Return plain data of a study in which paths of recorded activations that are relative, the searched
    ones too, begin at a folder."""

    def settle(path: object) -> object:
        if not isinstance(path, str) or not path:
            return path
        with contextlib.suppress(RuntimeError):  # of ~ with a name that nobody has
            return str(folder.resolve() / Path(path).expanduser())
        return path

    subject = data.get("subject") if isinstance(data, dict) else None
    if not isinstance(subject, dict) or subject.get("kind") != "external" or "path" not in subject:
        return data
    data = copy.deepcopy(data) | {"subject": {**subject, "path": settle(subject["path"])}}
    over = search.get("over") if isinstance(search := data.get("search"), dict) else None
    if isinstance(over, dict) and isinstance(paths := over.get("subject.path"), list):
        over["subject.path"] = [settle(path) for path in paths]
    return data


def find_faults(data: object) -> list[InputError]:
    """Return all that is wrong with plain data as a study, each `where` a bare key path; what only a search
    brings about is left to `check_study`."""
    if (unplain := find_unplain(data)) is not None:
        return [unplain]
    try:
        Study.model_validate_json(json.dumps(data))
    except ValidationError as error:
        return [InputError(*found) for found in explain_all(error, Study)]
    return []


def find_study(name_or_path: str) -> Path:
    """Return the file of a preset name or of a path; raise InputError if there is none."""
    if not name_or_path.strip():
        raise InputError(repr(name_or_path), "is no study", "the name of a preset, or a path")
    preset = PRESETS / f"{name_or_path}.yaml"
    if "/" not in name_or_path and preset.is_file():
        return preset
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.is_dir():
        raise InputError(name_or_path, "is a folder", "a study file (YAML)")
    names = sorted(presets())
    close = suggest(name_or_path, names)
    want = (
        close
        if close.startswith("did")
        else f"a path of a YAML file, or a preset: {', '.join(names)}"
    )
    raise InputError(name_or_path, "no such study", want)


def presets() -> dict[str, Path]:
    """Return the files of the studies that ship with the package, by name."""
    return {path.stem: path for path in sorted(PRESETS.glob("*.yaml"))}


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses aliases and repeated keys and reads 1e-3 as a number."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                line = node.start_mark.line + 1
                raise yaml.YAMLError(f"key {key!r} appears twice in the block at line {line}")
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes text which `_Loader` would read as a number."""


for _side in (_Loader, _Dumper):
    # YAML 1.1 reads 1e-3 as text because it lacks a dot; scientists write it as a number.
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
        list("-+0123456789"),
    )


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML without aliases, repeated keys or tags; raise InputError with the place."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}: line {mark.line + 1}" if mark else where
        reason = getattr(error, "problem", None) or str(error)
        raise InputError(place, f"not valid YAML: {reason}", "plain YAML") from None
    except ValueError as error:  # a date that is none, a number of thousands of digits
        raise InputError(where, f"not valid YAML: {error}", "plain YAML") from None
    except RecursionError:
        raise InputError(where, "YAML nested too deep", "a study file") from None


def write_yaml(study: Study) -> str:
    """Return a study as YAML that `read_study` reads back to an equal study."""
    # Of a search only what was set, because a searched architecture has defaults of its own.
    data = study.model_dump(mode="json", exclude_unset=study.search is not None)
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False)


def dump_yaml(data: object) -> str:
    """Return plain data as YAML for people, short lists and blocks on one line, that `parse_yaml` reads back
    to equal data."""
    return yaml.dump(
        data,
        Dumper=_Dumper,
        default_flow_style=None,
        sort_keys=False,
        allow_unicode=True,
        width=100,
    )


def read_yaml(path: Path) -> Any:
    """Read a YAML file of at most 1 MB; raise InputError if it is not readable text."""
    try:
        if path.stat().st_size > SIZE_CAP:
            raise InputError(str(path), "larger than 1 MB", "a study file")
        return parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError:
        raise InputError(str(path), "not UTF-8 text", "a YAML file") from None
    except OSError as error:
        raise InputError(str(path), error.strerror or "cannot be read", "a readable file") from None


def apply_override(data: Any, override: str) -> None:
    """Apply one `key.path=value` to plain data in place; raise InputError if it does not fit."""
    path, equals, text = override.partition("=")
    where = f"--set {override}"
    if not equals or not path:
        raise InputError(where, "no `=`", "--set key.path=value")
    *parents, last = path.split(".")
    target = data
    for key in parents:
        target = _step(target, key, where)
    value = parse_yaml(text, where)
    if isinstance(target, Mapping):
        target[last] = value  # type: ignore[index]
    elif isinstance(target, list) and (number := _entry(target, last)) is not None:
        target[number] = value
    else:
        raise InputError(where, f"{last!r} cannot be set here", "a key of the study")


def _step(target: Any, key: str, where: str) -> Any:
    if isinstance(target, dict):
        return target.setdefault(key, {})
    if isinstance(target, list) and (number := _entry(target, key)) is not None:
        return target[number]
    raise InputError(where, f"{key!r} is not there", "a key path of the study")


def _entry(target: list[Any], key: str) -> int | None:
    number = entry_number(key)
    return number if number is not None and number < len(target) else None
