"""Writes the reference pages of the manual from the code: commands, study, profile, columns, summary, keys."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

from engine.cli.main import app
from engine.report.columns import COLUMNS
from engine.report.summary import ROOT, Key, Part, Reference, Type, reference
from engine.study.profile import Profile, profiles
from engine.study.spec import Study, presets, read_study
from husai_tui.keys import KEYS, TITLES, Where, keys_of, shown

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
NOTE = "<!-- Written by `scripts/manual` from the code; a test holds it to that. -->"


def commands() -> str:
    """Return the page of the command line."""
    group = typer.main.get_command(app)
    parts = ["# Commands of `husai-engine`", _text(group.help or "")]
    parts.append(
        "Every command: exit code 0 done, 1 a job or a row failed, 2 bad input or usage, 3 environment "
        "unfit, 130 interrupted. `--json` prints one JSON object and nothing else. `--debug`, anywhere on "
        "the line, shows the traceback of an error."
    )
    for name, command in _leaves(group, ()):
        given = [one.metavar for one in command.params if _is_argument(one)]
        line = " ".join(["husai-engine", *name, *given])
        parts += [f"## {' '.join(name)}", f"```sh\n{line}\n```", _text(command.help or "")]
        rows = [_option(one) for one in command.params if one.name != "help"]
        if rows:
            parts.append(_table(("option", "default", "meaning"), rows))
    return _page(parts)


def _leaves(group: Any, name: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _leaves(command, (*name, key))
        else:
            yield (*name, key), command


def _is_argument(one: Any) -> bool:
    return not one.opts[0].startswith("-")


def _option(one: Any) -> tuple[str, str, str]:
    """Return the row of an option or argument: how it is written, its default, what it means."""
    if _is_argument(one):
        return f"`{one.metavar}`", "", _cell(one.help or "")
    names = ", ".join(f"`{name}`" for name in one.opts)
    if not one.is_flag:
        names += f" {one.metavar or one.type.name.upper()}"
    told = one.default not in (None, False) and not callable(one.default)
    return names, f"`{one.default}`" if told else "", _cell(one.help or "")


def study() -> str:
    """Return the page of the study file."""
    schema = Study.model_json_schema()
    parts = [
        "# The study file",
        "A YAML file of at most 1 MB: plain values, no aliases, no repeated keys; unknown keys are refused. "
        "`husai-engine schema` prints the same as JSON schema, `--set key.path=value` overrides one value.",
        "## Study",
        _fields(schema),
    ]
    for name, block in sorted(schema["$defs"].items()):
        if "properties" in block:
            parts += [
                f"## {name}",
                _text(block.get("description", "")),
                _fields(block),
            ]
    rows = [
        (f"`{name}`", _cell(read_study(str(path)).description)) for name, path in presets().items()
    ]
    parts += ["## Presets", _table(("preset", "question"), rows)]
    return _page(parts)


def profile() -> str:
    """Return the page of the hardware profiles."""
    schema = Profile.model_json_schema()
    parts = [
        "# Hardware profiles",
        "YAML files: those that ship with the package by name, your own by path (`--profile mine.yaml`). "
        "`husai-engine profiles` says what each would do on the machine it is asked on.",
        "## Profile",
        _fields(schema),
    ]
    for name, block in sorted(schema["$defs"].items()):
        parts += [
            f"## {name}",
            _text(block.get("description", "")),
            _fields(block),
        ]
    shipped = profiles()
    names = [name for name in Profile.model_fields if name not in ("name", "description")]
    rows = [
        (f"`{one}`", *(_value(getattr(shipped[one], name)) for name in names)) for one in shipped
    ]
    parts += ["## Those that ship", _table(("profile", *names), rows)]
    parts.append("\n".join(f"- `{name}`: {one.description}" for name, one in shipped.items()))
    return _page(parts)


def _value(value: object) -> str:
    if isinstance(value, BaseModel):
        return ", ".join(f"{k} {v}" for k, v in value.model_dump().items())
    return f"{value}"


def _fields(block: Mapping[str, Any]) -> str:
    required = set(block.get("required", ()))
    rows = []
    for name, field in block["properties"].items():
        default = "required" if name in required else _default(field.get("default"))
        rows.append((f"`{name}`", _type(field), default, _cell(field.get("description", ""))))
    return _table(("key", "type", "default", "meaning"), rows)


def _default(value: object) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, dict):
        return "its defaults"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(field: Mapping[str, Any]) -> str:
    """Return the type of a field in words: `integer > 0`, `topk or relu`, a block with a link."""
    if "$ref" in field:
        name = field["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{one}`" for one in field["enum"])
    for many in ("anyOf", "oneOf"):
        if many in field:
            kinds = [_type(one) for one in field[many] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}" if "items" in field else "list"
    bounds = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    limits = ", ".join(
        f"{sign} {_number(field[name])}" for name, sign in bounds.items() if name in field
    )
    return f"{field.get('type', 'value')} {limits}".strip()


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def keys() -> str:
    """Return the page of the app's keys."""
    parts = [
        "# Keys of the app",
        "`?` shows those that work where you are. In `[keymap]` of the settings file the name on the right "
        'gives a key another place: `"runs.pause" = "P"`.',
    ]
    places: list[Where] = list(dict.fromkeys(key.where for key in KEYS))
    for where in places:
        rows = [
            (
                " ".join(f"`{shown(name)}`" for name in key.keys.split(",")),
                _cell(key.title),
                f"`{key.id}`",
            )
            for key in keys_of(where)
            if key.where == where
        ]
        parts += [f"## {TITLES[where]}", _table(("keys", "what it does", "name"), rows)]
    return _page(parts)


def features() -> str:
    """Return the page of the table of features."""
    parts = [
        "# features.parquet",
        "One row for each feature of each seed, below `runs/STUDY/report/`; units, meanings and sources are in "
        "the metadata of its fields as well. O are the other seeds of the cohort, in their order. Columns that "
        "need a true plane or an activation map are there for the modular subject.",
        _table(
            ("column", "type", "unit", "meaning", "source"),
            [
                (f"`{c.name}`", f"`{c.type}`", _cell(c.unit), _cell(c.meaning), _cell(c.source))
                for c in COLUMNS
            ],
        ),
    ]
    return _page(parts)


def summary() -> str:
    """Return the page of the summary."""
    told = reference()
    shapes = "; ".join(f"{name} {meaning}" for name, meaning in told.shapes.items())
    parts = [
        "# summary.json",
        "What `husai-engine run --json` prints and `runs/STUDY/report/summary.json` holds. Keys are only "
        "added, never renamed. Numbers that are not finite are null. `[S]` behind a type is a list of that "
        f"length, `[]` one of any length, `[S, S]` a list of lists; {shapes}. `or null` before the brackets is "
        "of an entry, behind them of the whole. `<name>` stands for keys that are data; *if any* marks a key "
        "that not every summary has. Tests hold the summaries of real studies to this page.",
        f"The top of it is [{ROOT}](#{ROOT.lower()}); every other heading is an object within it, with the "
        "paths at which it stands.",
    ]
    for part in told.parts.values():
        parts += [f"## {part.name}", _about(part, told), _record_table(part)]
    return _page(parts)


def _about(part: Part, told: Reference) -> str:
    places = list(told.places(part.name))
    if not places:
        return part.about
    shown = ", ".join(f"`{place}`" for place in places[:MOST_PLACES])
    more = f" and {len(places) - MOST_PLACES} more" if len(places) > MOST_PLACES else ""
    return f"{part.about} At {shown}{more}."


MOST_PLACES = 3
"""Paths that are named for a record; one like Spread stands at a hundred."""


def _record_table(part: Part) -> str:
    rows = [_summary_row(path, key) for path, key in _flat(part.keys, "")]
    return _table(("key", "type", "unit", "meaning", "null"), rows)


def _flat(keys: tuple[Key, ...], before: str) -> Iterator[tuple[str, Key]]:
    """Yield the keys of a record in one row each, those of objects without a name by their path."""
    for key in keys:
        path = f"{before}{key.name}"
        if key.inner:
            yield from _flat(key.inner, f"{path}{'[]' * len(key.type.sizes)}.")
        else:
            yield path, key


def _summary_row(path: str, key: Key) -> tuple[str, ...]:
    told = "*if any* " if key.optional else ""
    meaning = _cell(f"{told}{key.meaning}")
    return f"`{path}`", _summary_type(key.type), _cell(key.unit), meaning, _cell(key.null_means)


def _summary_type(kind: Type) -> str:
    name = f"[{kind.name}](#{kind.name.lower()})" if kind.name[0].isupper() else kind.name
    lists = f"[{', '.join(kind.sizes)}]" if kind.sizes else ""
    entry = " or null" if kind.entry_null else ""
    return f"{name}{entry}{' ' if lists else ''}{lists}{' or null' if kind.null else ''}"


def _table(heads: tuple[str, ...], rows: list[Any]) -> str:
    lines = [
        " | ".join(heads),
        " | ".join("---" for _ in heads),
        *(" | ".join(row) for row in rows),
    ]
    return "\n".join(f"| {line} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _text(text: str) -> str:
    return " ".join(text.split())


def _page(parts: list[str]) -> str:
    title, *rest = [part for part in parts if part]
    return "\n\n".join([title, NOTE, *rest]) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands,
    "study.md": study,
    "profiles.md": profile,
    "keys.md": keys,
    "features.md": features,
    "summary.md": summary,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say which pages have drifted")
    given = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    drifted = []
    for name, make in PAGES.items():
        path, text = FOLDER / name, make()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            drifted.append(name)
            if not given.check:
                path.write_text(text, encoding="utf-8")
    for name in drifted:
        print(f"{'has drifted' if given.check else 'written'}: docs/reference/{name}")
    sys.exit(1 if given.check and drifted else 0)


if __name__ == "__main__":
    main()
