"""A search: values for any keys of a study, on a grid or drawn at random; each combination is one point."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, model_validator

from engine.errors import InputError
from engine.study.model import Config, refuse
from engine.study.refusal import suggest
from engine.study.subject import Seed

POINTS_CAP = 1_000
EVERY = "*"
"""In a key path: every entry of a list."""
RANGES = ("uniform", "log_uniform", "integers", "log_integers")
DIGITS = 4
"""Significant digits of numbers drawn from a range, so that a title shows the value that was used."""
DIGITS_CAP = 10
"""Digits of a place in a list, at most; every list of a study file is shorter."""
LARGEST = 2**52
"""Whole numbers up to here, and their differences, are exact as floats, which draws are made with."""
NEVER = {
    "name": "it names the study, not the work",
    "description": "it describes the study, not the work",
    "search": "a search cannot search itself",
    "subject.gates": "it decides whether to go on, not what comes out",
}
"""Keys that cannot be searched, and why."""

Values = dict[str, JsonValue]
"""Key path → value: what one point sets."""
Place = tuple[str | int, ...]
"""Where a value goes in plain data: a key path without stars."""


class _Search(Config):
    """What grids and random searches share."""

    over: Annotated[dict[str, JsonValue], Field(min_length=1)]
    """Key path → values; `saes.0.k` is one entry of a list, `saes.*.k` every one of them."""

    @model_validator(mode="after")
    def _searchable(self) -> Any:
        for path, values in self.over.items():
            if path in NEVER:
                raise refuse(f"over.{path}", "cannot be searched", NEVER[path])
            if isinstance(values, list):
                _check_choices(path, values)
            else:
                self._check_other(path, values)
        return self

    def _check_other(self, path: str, values: JsonValue) -> None:
        raise refuse(f"over.{path}", f"got {values!r}", "a list of values")


class Grid(_Search):
    """Every combination of the values; the first key varies slowest."""

    kind: Literal["grid"] = "grid"
    """This kind of search."""

    @model_validator(mode="after")
    def _bounded(self) -> Grid:
        count = math.prod(len(values) for values in self.over.values() if isinstance(values, list))
        if count > POINTS_CAP:
            raise refuse(
                "over", f"{count:,} points", f"at most {POINTS_CAP:,}, or a search of kind random"
            )
        return self

    def points(self) -> list[Values]:
        """Return what each point sets."""
        lists = [values if isinstance(values, list) else [] for values in self.over.values()]
        return [
            dict(zip(self.over, combination, strict=True))
            for combination in itertools.product(*lists)
        ]


class Random(_Search):
    """Values drawn independently: from a list, or from a range such as `{log_uniform: [1e-4, 1e-2]}`
    (`uniform`, `log_uniform`, `integers`, `log_integers`; both ends are included)."""

    kind: Literal["random"] = "random"
    """This kind of search."""
    samples: Annotated[int, Field(ge=1, le=POINTS_CAP)]
    """Points drawn; those that repeat an earlier one are left out."""
    seed: Seed = 0
    """Seed of the draws; those of one key do not depend on the other keys."""

    def _check_other(self, path: str, values: JsonValue) -> None:
        _check_range(path, values)

    def points(self) -> list[Values]:
        """Return what each point sets."""
        drawn = [
            {path: _draw(self.seed, path, number, values) for path, values in self.over.items()}
            for number in range(self.samples)
        ]
        return list({_text(_number(values)): values for values in drawn}.values())


Search = Annotated[Grid | Random, Field(discriminator="kind")]


def _check_choices(path: str, values: list[JsonValue]) -> None:
    if not values:
        raise refuse(f"over.{path}", "is empty", "at least one value")
    texts = [_text(_number(value)) for value in values]
    for value, text in zip(values, texts, strict=True):
        if texts.count(text) > 1:
            raise refuse(f"over.{path}", f"{value!r} is there twice", "every value once")


def _check_range(path: str, given: JsonValue) -> None:
    want = "a list of values, or one of " + ", ".join(f"{name}: [low, high]" for name in RANGES)
    if not isinstance(given, dict) or len(given) != 1 or next(iter(given)) not in RANGES:
        raise refuse(f"over.{path}", f"got {given!r}", want)
    name, ends = next(iter(given.items()))
    at = f"over.{path}.{name}"
    whole = name.endswith("integers")
    wanted = int if whole else (int, float)
    if (
        not isinstance(ends, list)
        or len(ends) != 2
        or not all(isinstance(end, wanted) and not isinstance(end, bool) for end in ends)
    ):
        kind = "whole numbers" if whole else "numbers"
        raise refuse(at, f"got {ends!r}", f"two {kind}, [low, high]")
    _check_size(at, ends, whole)
    low, high = _ends(ends)
    if low >= high:
        raise refuse(at, f"{low:g} is not below {high:g}", "[low, high]")
    if name.startswith("log") and low <= 0:
        raise refuse(at, f"{low:g} has no logarithm", "a low end above 0")
    if name.startswith("log") and not math.isfinite(high / low):
        raise refuse(at, f"{high:g} / {low:g} is too large to draw from", "a narrower range")


def _check_size(at: str, ends: Sequence[Any], whole: bool) -> None:
    """Refuse ends that no float holds, or whose distance none does: every draw would be the same."""
    largest = LARGEST if whole else sys.float_info.max / 2
    if any(abs(end) > largest for end in ends):
        limit = f"-2^52 to 2^52 ({LARGEST:,})" if whole else f"{-largest:.3g} to {largest:.3g}"
        raise refuse(at, "an end is too large to draw from", f"ends within {limit}")


def _ends(ends: Any) -> tuple[float, float]:
    low, high = ends
    return low, high


def _draw(seed: int, path: str, number: int, given: JsonValue) -> JsonValue:
    """Draw the value of one key at one sample, from nothing but these four."""
    digest = hashlib.sha256(_text([seed, path, number]).encode()).digest()
    # Of all methods of Random, only this one is promised to give the same with every Python.
    share = random.Random(int.from_bytes(digest, "big")).random()
    if isinstance(given, list):
        return given[int(share * len(given))]
    assert isinstance(given, dict), "checked when the search was read"
    name, ends = next(iter(given.items()))
    return from_range(name, *_ends(ends), share)


def from_range(name: str, low: float, high: float, share: float) -> int | float:
    """Return the value at a share in [0, 1) of a range; every integer of a range has its equal part."""
    if name == "integers":
        return math.floor(low + share * (high - low + 1))
    if name == "uniform":
        value = low + share * (high - low)
    else:
        # From half below to half above, or the integers at both ends would be drawn too rarely.
        half = 0.5 if name == "log_integers" else 0.0
        value = (low - half) * ((high + half) / (low - half)) ** share
    if name == "log_integers":
        return int(min(max(round(value), low), high))
    return min(max(float(f"{value:.{DIGITS}g}"), low), high)


def _text(value: object) -> str:
    """Return plain data as text that is equal where the data are; 1 and true differ."""
    return json.dumps(value, sort_keys=True)


def _number(value: Any) -> Any:
    """Return plain data with whole floats as integers: a field of numbers takes 1 and 1.0 for the same."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_number(item) for item in value]
    if isinstance(value, dict):
        return {key: _number(item) for key, item in value.items()}
    return value


def find_places(
    search: Grid | Random, data: Mapping[str, Any], where: str
) -> dict[str, list[Place]]:
    """Return where the value of each key path goes in a study's plain data, every field written out.

    Raises:
        InputError: a path names nothing, or two of them set the same.
    """
    found: dict[str, list[Place]] = {}
    for path in search.over:
        at = f"{where}: search.over.{path}"
        places = list(_resolve(data, path.split("."), (), at))
        for other, taken in found.items():
            if any(_overlap(one, two) for one in places for two in taken):
                raise InputError(at, f"sets what {other} sets, too", "one of them")
        found[path] = places
    return found


def _overlap(one: Place, two: Place) -> bool:
    short = min(len(one), len(two))
    return one[:short] == two[:short]


def _resolve(data: Any, keys: Sequence[str], above: Place, at: str) -> Iterator[Place]:
    if not keys:
        yield above
        return
    key, here = keys[0], ".".join(map(str, above)) or "the study"
    if isinstance(data, Mapping):
        if key not in data:
            wanted = "a key of it" if key == EVERY else suggest(key, sorted(data))
            raise InputError(at, f"names nothing: {here} has no {key!r}", wanted)
        yield from _resolve(data[key], keys[1:], (*above, key), at)
    elif isinstance(data, list):
        one = entry_number(key)
        chosen = range(len(data)) if key == EVERY else [] if one is None else [one]
        if not chosen or max(chosen) >= len(data):
            want = f"* for every entry, or 0 to {len(data) - 1}"
            raise InputError(at, f"names nothing: {here} has no entry {key!r}", want)
        for number in chosen:
            yield from _resolve(data[number], keys[1:], (*above, number), at)
    elif data is None:
        raise InputError(
            at, f"names nothing: {here} is not set", f"a value for {here} in the study"
        )
    else:
        what = "is no list" if key == EVERY else f"has no {key!r}"
        raise InputError(at, f"names nothing: {here} {what}", "the path of a key")


def entry_number(key: str) -> int | None:
    """Return which entry of a list a key names; None if it is no number (isdigit alone lets ² pass).

    Python refuses to read thousands of digits, and no list has so many entries.
    """
    return int(key) if key.isascii() and key.isdecimal() and len(key) < DIGITS_CAP else None


def assign(data: dict[str, Any], every: Mapping[str, Any], place: Place, value: JsonValue) -> None:
    """Set a value in a study's plain data; blocks that it leaves out come from `every`, all fields
    written out, because the default of a block may depend on what it is part of."""
    target: Any = data
    source: Any = every
    *above, last = place
    for key in above:
        source = source[key]
        if isinstance(target, dict) and key not in target:
            target[key] = copy.deepcopy(source)
        target = target[key]
    target[last] = copy.deepcopy(value)


def point_at(values: Values) -> str:
    """Return a point for people: `saes.*.d_sae 64, training.lr 0.001`."""
    return ", ".join(f"{path} {compact(value)}" for path, value in values.items())


def compact(value: JsonValue) -> str:
    """Return a value in as few characters as tell it from others: `0.001`, `none`, `1,2,3`."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    if isinstance(value, list):
        return ",".join(compact(item) for item in value)
    if isinstance(value, dict):
        return " ".join(f"{key} {compact(item)}" for key, item in value.items())
    return str(value)
