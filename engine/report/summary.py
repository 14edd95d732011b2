"""What every key of `summary.json` means: for the reference page, and for tests that hold summaries to it.

The keys stand in `summary.yaml`, which says how they are written. Loads no torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_suffix(".yaml")
ROOT = "Summary"
SCALARS: Mapping[str, tuple[type, ...]] = {
    "text": (str,),
    "yes/no": (bool,),
    "integer": (int,),
    "number": (int, float),
}
ANYTHING = "object"
INSTEAD = ("missing", "reason")
"""Keys that say why a record has nothing else."""
_TYPE = re.compile(
    r"(?P<name>[A-Za-z/]+)(?P<hole>\??)(?P<sizes>(?:\[[^]]*\])*)(?P<absent>\??)", re.ASCII
)


@dataclass(frozen=True)
class Type:
    """What a value is: a scalar, a record, or nested lists of either."""

    name: str
    """One of SCALARS, ANYTHING, or a record."""
    sizes: tuple[str, ...] = ()
    """Length of the list at every level: a letter of the shapes, a number, or empty for any."""
    entry_null: bool = False
    """Whether an entry of the lists may be null."""
    null: bool = False
    """Whether the whole may be null."""


@dataclass(frozen=True)
class Key:
    """One key of a record."""

    name: str
    """`<name>` where it is data."""
    type: Type
    unit: str
    meaning: str
    null_means: str
    optional: bool
    """Whether a summary may lack it."""
    inner: tuple[Key, ...] = ()
    """Keys of an object that has no name of its own; its type is then ANYTHING."""

    @property
    def pattern(self) -> bool:
        """Return whether any name stands here."""
        return self.name.startswith("<")


@dataclass(frozen=True)
class Part:
    """A record: the keys of an object that has a name in the reference."""

    name: str
    about: str
    keys: tuple[Key, ...]
    """Its own, without those of the record it extends."""
    base: str = ""


@dataclass(frozen=True)
class Reference:
    """All that is said of the file."""

    shapes: Mapping[str, str]
    parts: Mapping[str, Part]

    def keys_of(self, name: str) -> tuple[Key, ...]:
        """Return the keys of a record, those of what it extends first."""
        part = self.parts[name]
        return (*(self.keys_of(part.base) if part.base else ()), *part.keys)

    def children(self, key: Key) -> tuple[Key, ...]:
        """Return the keys below a key; nothing below a scalar."""
        if key.inner:
            return key.inner
        return self.keys_of(key.type.name) if key.type.name in self.parts else ()

    def paths(self) -> Iterator[str]:
        """Yield the path of every documented key: `cohorts[].stability.<metric>.<subset>.kappa`."""
        yield from self._paths(self.keys_of(ROOT), "")

    def places(self, part: str) -> Iterator[str]:
        """Yield the paths at which a record stands, outermost first; none for the whole file."""
        level: list[tuple[str, tuple[Key, ...]]] = [("", self.keys_of(ROOT))]
        while level:
            below = []
            for before, keys in level:
                for key in keys:
                    path = f"{before}{key.name}{'[]' * len(key.type.sizes)}"
                    if key.type.name == part:
                        yield path
                    below.append((f"{path}.", self.children(key)))
            level = below

    def _paths(self, keys: tuple[Key, ...], before: str) -> Iterator[str]:
        for key in keys:
            path = f"{before}{key.name}{'[]' * len(key.type.sizes)}"
            yield path
            yield from self._paths(self.children(key), f"{path}.")


@cache
def reference() -> Reference:
    """Return what `summary.yaml` says.

    Raises:
        ValueError: an entry is not written as the file says entries are; the tests read all of them.
    """
    data = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    parts = {
        name: Part(name, part["about"], _keys(part["keys"], name), part.get("extends", ""))
        for name, part in data["records"].items()
    }
    known = {*SCALARS, ANYTHING, *parts}
    for part in parts.values():
        if part.base and part.base not in parts:
            raise ValueError(f"{part.name} extends {part.base}, which is no record")
        for key in _nested(part.keys):
            if key.type.name not in known:
                raise ValueError(f"{part.name}.{key.name}: no type {key.type.name}")
    return Reference(data["shapes"], parts)


def _nested(keys: tuple[Key, ...]) -> Iterator[Key]:
    for key in keys:
        yield key
        yield from _nested(key.inner)


def _keys(data: Mapping[str, Any], where: str) -> tuple[Key, ...]:
    return tuple(_key(name, told, f"{where}.{name}") for name, told in data.items())


def _key(written: str, told: Any, where: str) -> Key:
    name, optional = written.removesuffix("?"), written.endswith("?")
    if isinstance(told, dict):
        name, *sizes = name.replace("]", "").split("[")
        inner = _keys(told, where)
        return Key(name, Type(ANYTHING, tuple(sizes)), "", "", "", optional, inner)
    told_parts = [" ".join(text.split()) for text in str(told).split("|")]
    if not 3 <= len(told_parts) <= 4:
        raise ValueError(f"{where}: not `type | unit | meaning | what null says`")
    kind, unit, meaning, null_means = (*told_parts, "")[:4]
    return Key(name, _type(kind, where), unit, meaning, null_means, optional)


def _type(written: str, where: str) -> Type:
    found = _TYPE.fullmatch(written)
    if found is None:
        raise ValueError(f"{where}: no type {written!r}")
    sizes = re.findall(r"\[([^]]*)\]", found["sizes"])
    dimensions = tuple(size.strip() for one in sizes for size in one.split(","))
    hole, absent = bool(found["hole"]), bool(found["absent"])
    if not dimensions:
        hole, absent = False, hole or absent
    return Type(found["name"], dimensions, hole, absent)


def faults(summary: Mapping[str, Any]) -> list[str]:
    """Return where a summary is not what the reference says: keys that it does not have, keys that are not
    there, values of another type or length. Nothing for a true one."""
    return [fault for fault, _ in _Walk(reference()).record(ROOT, summary, "", {}) if fault]


def seen(summary: Mapping[str, Any]) -> set[str]:
    """Return the documented paths that a summary has."""
    return {path for _, path in _Walk(reference()).record(ROOT, summary, "", {}) if path}


Found = Iterator[tuple[str, str]]
"""Faults and documented paths, one of both in each."""


@dataclass(frozen=True)
class _Walk:
    """Goes through a summary and the reference at once."""

    told: Reference

    def record(self, name: str, value: Any, path: str, sizes: dict[str, int]) -> Found:
        """Compare an object with a record."""
        yield from self._keys(self.told.keys_of(name), value, path, sizes)

    def _keys(self, keys: tuple[Key, ...], value: Any, path: str, sizes: dict[str, int]) -> Found:
        if not isinstance(value, dict):
            yield f"{path}: {_short(value)}, not an object", ""
            return
        named = {key.name: key for key in keys if not key.pattern}
        pattern = next((key for key in keys if key.pattern), None)
        if not any(value.get(word) for word in INSTEAD if word in named):
            for key in named.values():
                if not key.optional and key.name not in value:
                    yield f"{path}{key.name}: is not there", ""
        for name, item in value.items():
            told = named.get(name, pattern)
            if told is None:
                yield f"{path}{name}: is not documented", ""
                continue
            here = f"{path}{told.name}{'[]' * len(told.type.sizes)}"
            yield "", here
            yield from self._value(told, told.type.sizes, item, here, sizes)

    def _value(
        self, key: Key, lists: tuple[str, ...], value: Any, path: str, sizes: dict[str, int]
    ) -> Found:
        """Compare a value with what is said of it, through as many lists as are left."""
        kind = key.type
        whole = len(lists) == len(kind.sizes)
        if value is None:
            if not (kind.null if whole else kind.entry_null) and kind.name != ANYTHING:
                yield f"{path}: null, which is not said to be", ""
        elif lists:
            yield from self._list(key, lists, value, path, sizes)
        elif children := self.told.children(key):
            # Shapes are those of one cohort: what is beside it has others.
            inside = {} if path == "cohorts[]" else sizes
            yield from self._keys(children, value, f"{path}.", inside)
        elif kind.name != ANYTHING and not _is(value, SCALARS[kind.name]):
            yield f"{path}: {_short(value)}, not {kind.name}", ""

    def _list(
        self, key: Key, lists: tuple[str, ...], value: Any, path: str, sizes: dict[str, int]
    ) -> Found:
        if not isinstance(value, list):
            yield f"{path}: {_short(value)}, not a list", ""
            return
        size = lists[0]
        want = int(size) if size.isdigit() else sizes.setdefault(size, len(value)) if size else None
        if want is not None and len(value) != want:
            yield f"{path}: {len(value)} long, not {size} = {want}", ""
        for item in value:
            yield from self._value(key, lists[1:], item, path, sizes)


def _is(value: Any, types: tuple[type, ...]) -> bool:
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def _short(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:30]!r}"
