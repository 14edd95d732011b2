"""A study that is being written: plain data, what a form shows of it, and what an edit makes of it.

Whatever a form does not show stays as it is, so that any study can be taken as a start.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from engine.study.subject import Modular, Planted
from husai_tui.state.fields import (
    ARCHITECTURES,
    EXTERNAL,
    KINDS,
    MODULAR,
    OTHER,
    PLANTED,
    REST,
    RUN,
    SAE_FIELDS,
    TOP,
    Field,
    Shown,
)

Data = dict[str, Any]
FRESH: Data = {
    "name": "sweep",
    "description": "",
    "subject": {"kind": "modular", "modulus": 113},
    "hooks": ["blocks.0.hook_resid_post"],
    "saes": [{"architecture": "topk", "d_sae": 512, "k": 16}],
    "seeds": [42, 123, 456, 789, 1011],
    "training": {"epochs": 10, "batch_size": 256, "lr": 1e-3},
}
"""Where a sweep begins that begins with nothing."""
_SUBJECTS = {"modular": MODULAR, "planted": PLANTED, "external": EXTERNAL}
_HOOKS = {
    "modular": "blocks.0.hook_resid_post",
    "planted": "planted",
    "external": "activations",
}
"""Kind of subject → the hook that a new study of it has."""


def dig(data: Any, path: str) -> Any:
    """Return what stands at a key path, None if nothing does."""
    for key in path.split("."):
        if isinstance(data, list) and key.isdecimal() and int(key) < len(data):
            data = data[int(key)]
        elif isinstance(data, dict) and key in data:
            data = data[key]
        else:
            return None
    return data


def put(data: Data, path: str, value: Any) -> None:
    """Set what stands at a key path; None takes the key away, so that its default holds."""
    *above, last = path.split(".")
    here: Any = data
    for key in above:
        if not isinstance(here.get(key), dict):
            here[key] = {}
        here = here[key]
    if value is None:
        here.pop(last, None)
    else:
        here[last] = value


def entries(data: Data) -> list[Data]:
    """Return the entries of `saes` that are blocks."""
    saes = data.get("saes")
    return [sae for sae in saes if isinstance(sae, dict)] if isinstance(saes, list) else []


def over(data: Data) -> Data:
    """Return what is searched: key path → values."""
    found = dig(data, "search.over")
    return {str(path): values for path, values in found.items()} if isinstance(found, dict) else {}


def fields_of(data: Data) -> list[Field]:
    """Return the lines of the form: those that mean something for this study."""
    kind = _kind(data)
    hint = "where activations are read"
    if kind == "external":
        hint = "what you call these activations; e edits the name in the YAML"
    hooks = Field("hooks", "subject", "flags", "hooks", hint, (), hook_names(data))
    saes = [field for field in SAE_FIELDS if _having(data, field)]
    found = [*TOP, *_SUBJECTS[kind], hooks, KINDS, *saes, *REST]
    return [*found, *([OTHER] if _unshown(data, found) else []), *RUN]


def _kind(data: Data) -> str:
    found = dig(data, "subject.kind")
    return found if isinstance(found, str) and found in _SUBJECTS else "modular"


def hook_names(data: Data) -> tuple[str, ...]:
    """Return the hooks that the subject has, the usual one first."""
    subject, kind = data.get("subject"), _kind(data)
    if kind == "external":
        named = data.get("hooks")
        return tuple(map(str, named)) if named and isinstance(named, list) else (_HOOKS[kind],)
    model = Planted if kind == "planted" else Modular
    try:
        known = list(model.model_validate_json(json.dumps(subject)).hooks())
    except (ValidationError, TypeError, ValueError):
        known = list(model().hooks())
    return tuple(sorted(known, key=lambda name: "resid_post" not in name))


def _has(sae: Data, key: str) -> bool:
    name = sae.get("architecture")
    model = ARCHITECTURES.get(name) if isinstance(name, str) else None
    return key in (model.model_fields if model else ())


def _having(data: Data, field: Field) -> list[int]:
    """Return the entries of `saes` that a field is about."""
    saes = data.get("saes")
    found = enumerate(saes if isinstance(saes, list) else [])
    return [n for n, sae in found if isinstance(sae, dict) and _has(sae, field.path)]


def _spots(data: Data, field: Field) -> list[str]:
    """Return the key paths that several values of a field are searched over."""
    if not field.of_saes:
        return [field.path]
    having = _having(data, field)
    if len(having) == len(data.get("saes") or []):
        return [f"saes.*.{field.path}"]
    return [f"saes.{number}.{field.path}" for number in having]


def _claims(field: Field, path: str) -> bool:
    if field.of_saes:
        return re.fullmatch(rf"saes\.(\*|\d+)\.{field.path}", path) is not None
    return path == field.path


def _unshown(data: Data, fields: Sequence[Field]) -> bool:
    if dig(data, "search.kind") == "random":
        return True
    return any(not any(_claims(field, path) for field in fields) for path in over(data))


def values_of(data: Data, field: Field) -> Shown:
    """Return what a field holds."""
    if field.of_saes:
        return _sae_values(data, field)
    searched = over(data).get(field.path)
    if searched is not None:
        return _searched(searched)
    value = dig(data, field.path)
    if value is None:
        usual = field.default
        many = usual if isinstance(usual, tuple) else () if usual is None else (usual,)
        return Shown(many, usual=True)
    if isinstance(value, list) and field.kind in ("seeds", "flags"):
        return Shown(tuple(value))
    return Shown((value,))


def _searched(given: Any) -> Shown:
    if isinstance(given, list):
        return Shown(tuple(given))
    return Shown((given,), drawn=True)


def _sae_values(data: Data, field: Field) -> Shown:
    searched = over(data)
    if (star := f"saes.*.{field.path}") in searched:
        return _searched(searched[star])
    each = []
    for number in _having(data, field):
        value = dig(data, f"saes.{number}.{field.path}")
        each.append(searched.get(f"saes.{number}.{field.path}", [] if value is None else [value]))
    if not all(isinstance(values, list) for values in each):
        return Shown(tuple(each), drawn=True)
    distinct = [values for number, values in enumerate(each) if values not in each[:number]]
    if len(distinct) == 1:
        return Shown(tuple(distinct[0]))
    return Shown(
        tuple(dict.fromkeys(map(_hashable, (v for vs in distinct for v in vs)))), mixed=True
    )


def _hashable(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def assign(data: Data, field: Field, values: Sequence[Any]) -> None:
    """Give a field its values, in place: one is set, several are searched, none brings the default back."""
    if field.kind in ("seeds", "flags"):
        data[field.path] = list(values)
        return
    if field.kind == "text":
        data[field.path] = values[0] if values else ""
        return
    _forget(data, lambda path: _claims(field, path))
    value = _base(field, values)
    if field.of_saes:
        for number in _having(data, field):
            put(data["saes"][number], field.path, value)
    else:
        put(data, field.path, value)
    if len(values) > 1:
        _search(data, _spots(data, field), list(values))


def _base(field: Field, values: Sequence[Any]) -> Any:
    """Return what the study itself says where several values are searched: what fits to the others."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if not values or len(numbers) < len(values):
        return values[0] if values else None
    if field.path in ("d_sae", "subject.features", "subject.d_in"):
        return max(numbers)
    return min(numbers) if field.path in ("k", "target_l0", "subject.l0") else values[0]


def _search(data: Data, paths: Sequence[str], values: list[Any]) -> None:
    search = data.get("search")
    if not isinstance(search, dict) or not isinstance(search.get("over"), dict):
        search = data["search"] = {"kind": "grid", "over": {}}
    for path in paths:
        search["over"][path] = list(values)


def _forget(data: Data, claimed: Callable[[str], bool]) -> None:
    """Take keys out of the search; an empty one goes."""
    search = data.get("search")
    if isinstance(search, dict) and isinstance(search.get("over"), dict):
        search["over"] = {path: v for path, v in over(data).items() if not claimed(path)}
        if not search["over"]:
            del data["search"]


def set_architecture(data: Data, name: str, on: bool, kept: list[Data]) -> list[Data]:
    """Add an architecture with what it had before (`kept`), or take its entries out and return them."""
    several = {f.name: values_of(data, f) for f in SAE_FIELDS if _having(data, f)}
    before = entries(data)
    gone = [] if on else [sae for sae in before if sae.get("architecture") == name]
    left = [sae for sae in before if all(sae is not one for one in gone)]
    moved = {before.index(sae): place for place, sae in enumerate(left)}
    data["saes"] = left + (copy.deepcopy(kept) or [_new_entry(name, several)] if on else [])
    if over(data):
        _renumber(data, moved)
    for field in SAE_FIELDS:
        shown = several.get(field.name)
        if shown and len(shown.values) > 1 and not shown.mixed and _having(data, field):
            assign(data, field, shown.values)
    return gone


def _new_entry(name: str, shown: dict[str, Shown]) -> Data:
    usual = {"width": 512, "k": 16, "l1": 1e-3, "target l0": 16}
    entry: Data = {"architecture": name}
    for field in SAE_FIELDS:
        if _has(entry, field.path):
            values = shown[field.name].values if field.name in shown else ()
            entry[field.path] = _base(field, values) or usual[field.name]
    return entry


def _renumber(data: Data, moved: dict[int, int]) -> None:
    """Let the search name the entries of `saes` by their new places; of those that went it forgets all."""
    found = {}
    for path, values in over(data).items():
        keys = path.split(".")
        if keys[0] == "saes" and len(keys) > 1 and keys[1].isdecimal():
            if int(keys[1]) not in moved:
                continue
            keys[1] = str(moved[int(keys[1])])
        found[".".join(keys)] = values
    data["search"]["over"] = found
    if not found:
        del data["search"]


def set_subject(data: Data, kind: str, kept: Data | None) -> Data:
    """Take another kind of subject, with what it had before (`kept`); return what the one before had."""
    gone = {key: copy.deepcopy(data.get(key)) for key in ("subject", "hooks")}
    _forget(data, lambda path: path.split(".")[0] == "subject")
    data["subject"] = {"kind": kind}
    data["hooks"] = [_HOOKS[kind]]
    data.update(copy.deepcopy(kept) if kept else {})
    return gone


def field_at(fields: Sequence[Field], where: str) -> Field | None:
    """Return the field that a fault is about, by the key path that the engine names; None: none of them."""
    path = where.rsplit(": ", 1)[-1].removeprefix("search.over.")
    keys = path.split(".")
    best: Field | None = None
    for field in fields:
        if not field.path:
            continue
        if field.of_saes and keys[0] == "saes" and field.path in keys[2:3]:
            return field
        above = field.path.split(".")
        if keys[: len(above)] == above and not field.of_saes:
            best = field
    return best


def differences(before: Any, now: Any, path: str = "") -> list[tuple[str, Any]]:
    """Return what `--set` must set to make one study of another: key path → value."""
    if before == now:
        return []
    if path == "search":  # its keys are key paths themselves
        return [(path, now)]
    if (
        isinstance(before, dict)
        and isinstance(now, dict)
        and (not path or before.keys() <= now.keys())
    ):
        found = []
        for key in [*now, *(key for key in before if key not in now)]:
            below = f"{path}.{key}" if path else str(key)
            if key in now and key not in before:
                found.append((below, now[key]))
            elif key not in now:
                found.append((below, None if key == "search" else {}))
            else:
                found += differences(before[key], now[key], below)
        return found
    if (
        isinstance(before, list)
        and isinstance(now, list)
        and len(before) == len(now)
        and path == "saes"
    ):
        pairs = enumerate(zip(before, now, strict=True))
        return [one for n, (old, new) in pairs for one in differences(old, new, f"{path}.{n}")]
    return [(path, now)]
