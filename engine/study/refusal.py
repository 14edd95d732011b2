"""Turns a pydantic error into one line: file, key path, what is wrong, what would be right."""

from __future__ import annotations

import difflib
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
    """Return the InputError for the first thing that is wrong, naming how many more there are."""
    details = error.errors(include_url=False)
    first = details[0]
    path, owner = _locate(model, first["loc"])
    if at := first.get("ctx", {}).get("at"):
        path = f"{path}.{at}" if path else str(at)
    what, want = _describe(first, path, owner)
    if len(details) > 1:
        want += f" (and {len(details) - 1} more)"
    return InputError(f"{where}: {path}" if path else where, what, want)


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
    if kind in ("too_short", "too_long"):
        return "is empty" if not given else f"has {len(given)} entries", "at least one entry"
    if kind in _WANTED:
        return f"got {_show(given)}", _WANTED[kind]
    if kind == "string_pattern_mismatch":
        return (
            f"got {_show(given)}",
            "letters, digits, dot, dash and underscore, at most 80 of them",
        )
    want = error["msg"].removeprefix("Input should be ").removeprefix("String should ")
    return f"got {_show(given)}", want


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def suggest(key: str, known: Sequence[str]) -> str:
    """Return `did you mean 'x'?` for the known key most like the one given, or all of them."""
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]!r}?" if close else "one of " + ", ".join(known)
