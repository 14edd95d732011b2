"""The sweep's form: a draft with a cursor, one line per setting, its history, and what is wrong with it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from engine.errors import HusaiError, InputError
from engine.study.spec import dump_yaml, find_faults, parse_yaml
from husai_tui.state.draft import (
    FRESH,
    Data,
    field_at,
    fields_of,
    set_architecture,
    set_subject,
    values_of,
)
from husai_tui.state.draft import assign as give
from husai_tui.state.entry import Entry
from husai_tui.state.fields import Field, Shown, parse

HISTORY = 100
PROFILES = ("auto",)


@dataclass(frozen=True)
class _Kept:
    """One state of the draft, for undo."""

    data: Data
    start: Data
    origin: str
    text: str
    profile: str
    priority: Any


@dataclass
class Form:
    """A study that is being written."""

    profile: str = "auto"
    profiles: tuple[str, ...] = PROFILES
    """Names to choose from."""
    priority: Any = 0
    data: Data = field(default_factory=lambda: copy.deepcopy(FRESH))
    origin: str = ""
    """Preset or study that it began with; empty: nothing."""
    text: str = ""
    """The YAML as somebody wrote it, comments and all, for as long as the data are its; else empty."""
    broken: str = ""
    """A text that does not parse, kept until it does; the data are those before it."""
    broken_why: str = ""
    cursor: str = "name"
    """Name of the field under the cursor."""
    entry: Entry | None = None
    """What is being typed; None: nothing is."""
    version: int = 0
    """Grows with each change, so that a plan can be told to be old."""
    plan_fault: HusaiError | None = None
    """What the plan of this version met."""

    def __post_init__(self) -> None:
        self._history: list[_Kept] = []
        self._before: _Kept | None = None
        self._inner: dict[str, int] = {}
        self._shelf: dict[str, Any] = {}
        self.faults: list[InputError] = []
        self._start = copy.deepcopy(self.data)
        self._changed()

    # What it is

    @property
    def fields(self) -> list[Field]:
        """The lines, from the top."""
        return self._fields

    @property
    def at(self) -> Field:
        """The field under the cursor."""
        return next((one for one in self._fields if one.name == self.cursor), self._fields[0])

    @property
    def name(self) -> str:
        """Name of the study."""
        name = self.data.get("name")
        return name if isinstance(name, str) else ""

    @property
    def edited(self) -> bool:
        """Whether it differs from what it began with."""
        return self.data != self._start

    @property
    def key(self) -> tuple[int, str]:
        """What a plan depends on."""
        return self.version, self.profile

    def fault_of(self, one: Field) -> HusaiError | None:
        """Return what is wrong with a field."""
        for fault in self.every_fault():
            if field_at(self._fields, fault.where) == one:
                return fault
        return None

    def other_faults(self) -> list[HusaiError]:
        """Return what is wrong with settings that have no line here."""
        return [one for one in self.every_fault() if field_at(self._fields, one.where) is None]

    def every_fault(self) -> list[InputError]:
        """Return all that is wrong, in the order of the study."""
        found = list(self.faults)
        if not _whole(self.priority):
            found.append(InputError("priority", f"got {self.priority!r}", "a whole number"))
        if not found and isinstance(self.plan_fault, InputError):
            found.append(self.plan_fault)
        return found

    @property
    def sound(self) -> bool:
        """Whether it is a study, as far as can be told without planning it."""
        return not self.faults and not self.broken and _whole(self.priority)

    def shown(self, one: Field) -> Shown:
        """Return what a field holds."""
        if one.name == "profile":
            return Shown((self.profile,))
        if one.name == "priority":
            return Shown((self.priority,))
        return values_of(self.data, one)

    def options(self, one: Field) -> tuple[str, ...]:
        """Return what can be chosen in a field; what stands there unknown can be chosen, too."""
        if one.name == "profile":
            return self.profiles
        found = one.options
        if one.kind == "flags" and one.name != "architecture":
            strange = [str(v) for v in self.shown(one).values if str(v) not in found]
            return (*found, *strange)
        return found

    def chosen(self, one: Field) -> list[str]:
        """Return what is chosen of flags."""
        if one.name == "architecture":
            saes = self.data.get("saes")
            return [
                str(sae.get("architecture"))
                for sae in (saes if isinstance(saes, list) else [])
                if isinstance(sae, dict)
            ]
        return [str(value) for value in self.shown(one).values]

    def inner(self, one: Field) -> int:
        """Return which option of flags `space` turns."""
        last = max(0, len(self.options(one)) - 1)
        return min(self._inner.get(one.name, 0), last)

    # Moving

    def move(self, by: int) -> None:
        """Go down or up; what is being typed is taken."""
        self.commit()
        names = [one.name for one in self._fields]
        place = names.index(self.cursor) if self.cursor in names else 0
        self.cursor = names[min(max(0, place + by), len(names) - 1)]

    def go_to_fault(self) -> None:
        """Put the cursor on the first line that is wrong."""
        wrong = [one.name for one in self._fields if self.fault_of(one)]
        self.cursor = wrong[0] if wrong else self.cursor

    # Changing

    def begin(self) -> None:
        """Type into the line under the cursor; a choice takes its next option instead."""
        one = self.at
        if one.kind in ("text", "values", "seeds"):
            shown = self.shown(one)
            text = "" if shown.drawn or shown.mixed else shown.text
            self._before = self._keep()
            self.entry = Entry(text, len(text))
        else:
            self.flip()

    def press(self, key: str, character: str | None) -> bool:
        """Take a key while a line is being typed; return whether it was one for it."""
        if self.entry is None:
            return False
        if key in ("enter", "tab", "down", "up"):
            self.commit()
            if key != "enter":
                self.move(-1 if key == "up" else 1)
        elif key in ("escape", "ctrl+c"):
            self.cancel()
        else:
            before = self.entry.text
            taken = self.entry.press(key, character)
            if self.entry.text != before:
                self._type(self.entry.text)
            return taken
        return True

    def paste(self, text: str) -> None:
        """Put a text into the line that is being typed."""
        if self.entry is not None:
            self.entry.insert(text)
            self._type(self.entry.text)

    def commit(self) -> None:
        """Take what was typed."""
        if self.entry is not None and self._before is not None:
            self._remember(self._before)
        self.entry = self._before = None

    def cancel(self) -> None:
        """Leave what was typed; what was there before comes back."""
        if self._before is not None:
            self._restore(self._before)
        self.entry = self._before = None

    def _type(self, text: str) -> None:
        one = self.at
        if one.name == "priority":
            values = parse(one, text)
            self.priority = values[0] if len(values) == 1 else (text if values else 0)
        else:
            give(self.data, one, parse(one, text))
        self._changed()

    def flip(self) -> None:
        """Turn what stands under the cursor: a switch, the option of flags, the next choice."""
        one = self.at
        if one.kind == "choice":
            self.step(1)
        elif one.kind == "switch":
            before = self._keep()
            value = self.shown(one).values[:1] != (True,)
            give(self.data, one, [value])
            self._done(before)
        elif one.kind == "flags" and self.options(one):
            before = self._keep()
            self._turn(one, self.options(one)[self.inner(one)])
            self._done(before)

    def _turn(self, one: Field, option: str) -> None:
        chosen = self.chosen(one)
        if one.name == "architecture":
            on = option not in chosen
            gone = set_architecture(self.data, option, on, self._shelf.get(option, []))
            self._shelf[option] = gone or self._shelf.get(option, [])
            return
        now = [name for name in chosen if name != option]
        if option not in chosen:
            now = [name for name in self.options(one) if name in (*chosen, option)]
        give(self.data, one, now)

    def step(self, by: int) -> None:
        """Take the next choice or the one before; among flags, go to the next option."""
        one = self.at
        options = self.options(one)
        if not options:
            return
        if one.kind == "flags":
            self._inner[one.name] = min(max(0, self.inner(one) + by), len(options) - 1)
            return
        now = self.shown(one).values[:1]
        place = options.index(now[0]) if now and now[0] in options else -1
        value = options[(place + by) % len(options)]
        before = self._keep()
        if one.name == "profile":
            self.profile = value
        elif one.name == "kind":
            self._shelf[str(now)] = set_subject(self.data, value, self._shelf.get(str((value,))))
        else:
            give(self.data, one, [value])
        self._done(before)

    # Beginning

    def start(self, data: Data, origin: str, text: str = "") -> None:
        """Begin with another study; undo brings this one back."""
        self.commit()
        before = self._keep()
        self.data, self.origin, self.text = copy.deepcopy(data), origin, text
        self._start, self._shelf = copy.deepcopy(data), {}
        self.broken = self.broken_why = ""
        self._done(before, keep_text=True)

    def take(self, text: str) -> str:
        """Take a study as YAML; return why it cannot be read, empty if it can. It is kept either way."""
        if not text.strip():
            return "the text is empty: nothing was changed"
        try:
            data = parse_yaml(text, "line")
            if not isinstance(data, dict):
                raise InputError(
                    "the text", "is no block of keys", "name, subject, hooks, saes, seeds"
                )
        except InputError as error:
            self.broken, self.broken_why = text, str(error).removeprefix("line: ")
            return self.broken_why
        before = self._keep()
        self.broken = self.broken_why = ""
        self.data, self.text = data, text
        self._done(before, keep_text=True)
        return ""

    def drop_broken(self) -> None:
        """Forget a text that does not parse."""
        self.broken = self.broken_why = ""

    def undo(self) -> bool:
        """Bring back what was there before the last change; return whether anything was."""
        if self.entry is not None:
            self.cancel()
            return True
        if not self._history:
            return False
        self._restore(self._history.pop())
        return True

    # As text

    @property
    def yaml(self) -> str:
        """The study as YAML: as it was written where it still says the same."""
        return self.text or dump_yaml(self.data)

    def remember(self) -> dict[str, Any]:
        """Return what brings the draft back: texts and numbers."""
        return {
            "yaml": self.yaml,
            "start": dump_yaml(self._start),
            "broken": self.broken,
            "origin": self.origin,
            "profile": self.profile,
            "priority": self.priority if _whole(self.priority) else 0,
            "line": self.cursor,
        }

    def recall(self, kept: dict[str, Any]) -> None:
        """Take what `remember` returned; what is wrong in it is as if it were not there."""
        texts = {name: kept.get(name) for name in ("yaml", "start", "broken", "origin", "line")}
        said = {name: text if isinstance(text, str) else "" for name, text in texts.items()}
        try:
            data, start = parse_yaml(said["yaml"], ""), parse_yaml(said["start"], "")
        except InputError:
            return
        if not isinstance(data, dict):
            return
        self.data, self.origin = data, said["origin"]
        self._start = start if isinstance(start, dict) else copy.deepcopy(data)
        self.text = "" if said["yaml"] == dump_yaml(data) else said["yaml"]
        if _whole(kept.get("priority")):
            self.priority = kept["priority"]
        self._changed()
        if said["line"] in [one.name for one in self._fields]:
            self.cursor = said["line"]
        if said["broken"]:
            self.take(said["broken"])

    # Inside

    def _keep(self) -> _Kept:
        data = copy.deepcopy(self.data)
        return _Kept(data, self._start, self.origin, self.text, self.profile, self.priority)

    def _remember(self, kept: _Kept) -> None:
        if kept != self._keep():
            self._history = [*self._history, kept][-HISTORY:]

    def _restore(self, kept: _Kept) -> None:
        self.data, self.origin = copy.deepcopy(kept.data), kept.origin
        self._start = kept.start
        self.profile, self.priority = kept.profile, kept.priority
        self._changed()
        self.text = kept.text

    def _done(self, before: _Kept, keep_text: bool = False) -> None:
        text = self.text
        self._changed()
        self.text = text if keep_text or self.data == before.data else ""
        self._remember(before)

    def _changed(self) -> None:
        """Take note of a change: other lines, other faults, another version."""
        if self.entry is not None:
            self.text = ""
        self.version += 1
        self.plan_fault = None
        self._fields = fields_of(self.data)
        self.faults = find_faults(self.data)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
