"""What a user has set (`config.toml`) and what the app remembers of the last time (`state.json`)."""

from __future__ import annotations

import contextlib
import json
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from husai_tui.keys import clashes
from husai_tui.tones import THEMES

LARGEST_FILE = 1 << 16


def config_folder() -> Path:
    """Return where settings are kept: `$XDG_CONFIG_HOME/husai`, or `~/.config/husai`."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "husai"


@dataclass(frozen=True)
class Settings:
    """What a user may set; the names are those of `config.toml`."""

    theme: str = ""
    """Name of a theme; empty: by the terminal."""
    profile: str = "auto"
    """Hardware profile for a supervisor that the app starts, and for new sweeps."""
    refresh: float = 0.5
    """Seconds between two looks at the engine; a slow link stretches them."""
    mouse: bool = True
    """Whether clicks and the wheel are taken from the terminal."""
    keymap: dict[str, str] = field(default_factory=dict)
    """Name of a key as `?` shows it → the keys to use instead, separated by commas."""
    problems: tuple[str, ...] = ()
    """What was wrong with the file; those entries are as if they were not there."""


def read_settings(folder: Path) -> Settings:
    """Read `config.toml`; what is wrong in it is told in `problems` and left out, never fatal."""
    path = folder / "config.toml"
    try:
        if path.stat().st_size > LARGEST_FILE:
            return Settings(problems=(f"{path}: larger than {LARGEST_FILE >> 10} KB; not read",))
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return Settings(problems=(f"{path}: {error}",))
    kept: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in given.items():
        wrong = _wrong(name, value)
        if wrong:
            problems.append(f"{path}: {name}: {wrong}")
        else:
            kept[name] = value
    keymap = kept.get("keymap", {})
    lines = clashes(keymap)
    if lines:
        problems += [f"{path}: {line}" for line in lines]
        refused = {line.split(": ")[1] for line in lines}
        kept["keymap"] = {name: keys for name, keys in keymap.items() if name not in refused}
    return Settings(**kept, problems=tuple(problems))


def _wrong(name: str, value: object) -> str:
    """Return what is wrong with an entry of `config.toml`; empty: nothing."""
    if name == "theme":
        return "" if value in THEMES else f"{value!r} is none of {', '.join(THEMES)}"
    if name == "profile":
        return "" if isinstance(value, str) and value else "the name of a profile"
    if name == "refresh":
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if number and 0.2 <= float(str(value)) <= 60 else "seconds, .2 to 60"
    if name == "mouse":
        return "" if isinstance(value, bool) else "true or false"
    if name == "keymap":
        fine = isinstance(value, dict) and all(isinstance(keys, str) for keys in value.values())
        return "" if fine else "a table of names to keys"
    return "no such setting; theme, profile, refresh, mouse and [keymap] are"


@dataclass
class Memory:
    """What comes back at the next start; per runs root, since its studies are."""

    view: str = "runs"
    """Screen that was open last."""
    seen: float = 0.0
    """When somebody last looked, seconds since 1970."""
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Screen → its filter, its sort and what else it asks to remember."""


def read_memory(folder: Path, root: Path) -> Memory:
    """Read what was remembered of a runs root; anything unreadable is forgotten."""
    found = _memories(folder).get(str(root.resolve()))
    if not isinstance(found, dict):
        return Memory()
    view, seen, views = found.get("view"), found.get("seen"), found.get("views")
    return Memory(
        view if isinstance(view, str) else "runs",
        float(seen) if isinstance(seen, int | float) else 0.0,
        {k: v for k, v in views.items() if isinstance(v, dict)} if isinstance(views, dict) else {},
    )


def write_memory(folder: Path, root: Path, memory: Memory) -> None:
    """Remember; a folder that cannot be written is no reason to complain when leaving."""
    every = _memories(folder)
    every.pop(str(root.resolve()), None)
    mine = {"view": memory.view, "seen": memory.seen, "views": memory.views}
    kept = dict(list(every.items())[-31:])
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = folder / f".state.{os.getpid()}"
        aside.write_text(json.dumps({**kept, str(root.resolve()): mine}, indent=1))
        os.replace(aside, folder / "state.json")
    except (OSError, TypeError, ValueError):
        with contextlib.suppress(OSError):
            (folder / f".state.{os.getpid()}").unlink(missing_ok=True)


def _memories(folder: Path) -> dict[str, Any]:
    path = folder / "state.json"
    try:
        if path.stat().st_size > 16 * LARGEST_FILE:
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
