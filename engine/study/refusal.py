"""Turns a pydantic error into one line: file, key path, what is wrong, what would be right."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from engine.errors import InputError

_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "model_type": "a block of keys",
    "model_attributes_type": "a block of keys",
    "finite_number": "a finite number",
}


def explain(error: ValidationError, model: type[BaseModel], where: str) -> InputError:
    """Return the InputError for the first thing that is wrong, naming how many more there are.

    Unknown keys come first: one that is misspelt is not missing.
    """
    path, what, want = (every := explain_all(error, model))[0]
    if len(every) > 1:
        want += f" (and {len(every) - 1} more)"
    return InputError(f"{where}: {path}" if path else where, what, want)


def explain_all(error: ValidationError, model: type[BaseModel]) -> list[tuple[str, str, str]]:
    """Return everything that is wrong: key path, what is wrong, what would be right; unknown keys first."""
    return [_explain(details, model) for details in _causes(error.errors(include_url=False), model)]


def _explain(details: ErrorDetails, model: type[BaseModel]) -> tuple[str, str, str]:
    path, owner = _locate(model, details["loc"])
    if at := details.get("ctx", {}).get("at"):
        path = f"{path}.{at}" if path else str(at)
    return (path, *_describe(details, path, owner))


def find_unplain(data: object, at: str = "") -> InputError | None:
    """Return the error of the first value that no study holds (not finite, a date), else None."""
    if isinstance(data, (dict, list)):
        pairs = list(data.items() if isinstance(data, dict) else enumerate(data))
        odd = next((key for key, _ in pairs if not isinstance(key, (str, int, float))), None)
        if odd is not None:
            return InputError(at, f"got a {type(odd).__name__} as key: {odd}", "text as keys")
        below = (find_unplain(value, f"{at}.{key}" if at else str(key)) for key, value in pairs)
        return next((error for error in below if error is not None), None)
    if isinstance(data, float) and not math.isfinite(data):
        return InputError(at, f"{data} is not finite", "a finite number")
    if data is None or isinstance(data, (str, int, float)):
        return None
    return InputError(
        at, f"got a {type(data).__name__}: {data}", "text, a number, a list or a block"
    )


def _causes(details: list[ErrorDetails], model: type[BaseModel]) -> list[ErrorDetails]:
    """Return the errors without those that others bring about, unknown keys before all else."""
    unknown = [error for error in details if error["type"] == "extra_forbidden"]
    meant = {(error["loc"][:-1], _meant(error, model)) for error in unknown}
    locs = [error["loc"] for error in details]

    def follows(error: ErrorDetails) -> bool:
        loc = error["loc"]
        if error["type"] == "missing":
            return (loc[:-1], loc[-1]) in meant
        # A list counts only entries without an error, so that it may seem too short.
        return error["type"] == "too_short" and any(
            len(other) > len(loc) and other[: len(loc)] == loc for other in locs
        )

    others = [error for error in details if error not in unknown and not follows(error)]
    return [*unknown, *others]


def _meant(error: ErrorDetails, model: type[BaseModel]) -> str | None:
    """Return the key that an unknown one resembles most."""
    path, owner = _locate(model, error["loc"])
    known = sorted(owner.model_fields) if owner else []
    return next(iter(difflib.get_close_matches(path.rsplit(".", 1)[-1], known, n=1)), None)


def _locate(model: type[BaseModel], loc: Sequence[int | str]) -> tuple[str, type[BaseModel] | None]:
    """Return the key path as the user wrote it (union tags left out) and the model that owns its last key."""
    owner: type[BaseModel] | None = model
    here: Any = model
    path: list[str] = []
    for part in loc:
        if isinstance(part, int):
            path.append(str(part))
            continue
        tagged = [m for m in _models(here) if part in _tags(m)] if part not in _fields(here) else []
        if tagged:
            here = owner = tagged[0]
            continue
        path.append(part)
        owner = next((m for m in _models(here) if part in m.model_fields), _first(here))
        field = owner.model_fields.get(part) if owner else None
        here = field.annotation if field else None
    return ".".join(path), owner


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for arg in get_args(annotation) for found in _models(arg)]


def _first(annotation: Any) -> type[BaseModel] | None:
    return next(iter(_models(annotation)), None)


def _fields(annotation: Any) -> set[str]:
    models = _models(annotation)
    return set(models[0].model_fields) if len(models) == 1 else set()


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    """Return the discriminator values of a model: the literals of its field that has but one."""
    literals = (
        get_args(f.annotation)
        for f in model.model_fields.values()
        if get_origin(f.annotation) is Literal
    )
    return next((values for values in literals if len(values) == 1), ())


def _describe(error: ErrorDetails, path: str, owner: type[BaseModel] | None) -> tuple[str, str]:
    kind, context, given = error["type"], error.get("ctx", {}), error.get("input")
    if kind == "refused":
        return str(context["what"]), str(context["want"])
    if kind == "extra_forbidden":
        return "unknown key", suggest(
            path.rsplit(".", 1)[-1], sorted(owner.model_fields) if owner else []
        )
    if kind == "missing":
        return "is missing", "a value for it"
    if kind == "union_tag_not_found":
        return f"{context['discriminator']!s} is missing", "one that says which it is"
    if kind == "union_tag_invalid":
        tag = str(context["discriminator"]).strip("'")
        return f"{tag} is {context['tag']!r}", f"{tag} one of {context['expected_tags']}"
    if kind == "literal_error":
        return f"got {_show(given)}", f"one of {context['expected']}"
    if kind == "too_short":
        return _length(given), f"at least {_entries(context['min_length'])}"
    if kind in _WANTED:
        return f"got {_show(given)}", _WANTED[kind]
    if kind == "string_pattern_mismatch":
        return (
            f"got {_show(given)}",
            "letters, digits, dot, dash and underscore, at most 80 of them",
        )
    want = error["msg"].removeprefix("Input should be ").removeprefix("String should ")
    return f"got {_show(given)}", want


def _length(given: Any) -> str:
    return f"has {_entries(len(given))}" if given else "is empty"


def _entries(count: int) -> str:
    return f"{'one' if count == 1 else count} {'entry' if count == 1 else 'entries'}"


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def suggest(key: str, known: Sequence[str]) -> str:
    """Return `did you mean 'x'?` for the known key most like the one given, or all of them."""
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]!r}?" if close else "one of " + ", ".join(known)
