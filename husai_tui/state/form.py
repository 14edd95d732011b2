"""The sweep's form as lines of text: a faint group, the name of a setting, its value, what is wrong with it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import replace

from rich.cells import cell_len

from engine.disk.text import visible_line
from husai_tui.state.estimate import fault_text
from husai_tui.state.fields import Field
from husai_tui.state.meter import plural
from husai_tui.state.sweep import Form
from husai_tui.tones import Line, Part

LEFT = 23
"""Cells before a value: a margin, the group, the name."""
LONGEST_HINT = 2


class FormLines:
    """What of the form is in sight; the window follows the cursor."""

    def __init__(self) -> None:
        self.top = 0
        self.places: dict[int, str] = {}
        """Line on the screen → name of the field on it, for the mouse."""

    def lines(
        self, form: Form, width: int, height: int, profiles: Mapping[str, str] | None = None
    ) -> list[Line]:
        """Return exactly as many lines as there is room for.

        Args:
            form: what is shown.
            width: cells of a line.
            height: lines.
            profiles: name → why a profile does not fit here, empty if it does.
        """
        hint = _hint(form, width, profiles or {})
        told = max(1, len(hint))
        room = max(1, height - 1 - told)
        rows = _rows(form, width, profiles or {}, room)
        names = [name for name, _ in rows]
        at = names.index(form.at.name)
        self.top = max(0, min(max(self.top, at - room + 1), at, len(rows) - room))
        seen = rows[self.top : self.top + room]
        self.places = {n + 1: name for n, (name, _) in enumerate(seen) if name}
        body = [line for _, line in seen]
        if len(body) < room:
            body.append(Line())
        more = len(rows) - self.top - room
        said = f"{more} more below" if more > 0 else ""
        said = said or (f"{self.top} more above" if self.top else "")
        return [_head(form, said, width), *body, *hint][:height]


def _head(form: Form, more: str, width: int) -> Line:
    if form.broken:
        return Line(
            (
                (" ✗ the edited YAML cannot be read", "bad"),
                (f": {visible_line(form.broken_why)}", "bad"),
            )
        )
    others = form.other_faults()
    if others:
        where = getattr(others[0], "where", "").rsplit(": ", 1)[-1]
        return Line(((f" ✗ {visible_line(f'{where}: {fault_text(others[0])}')}", "bad"),))
    parts: list[Part]
    origin = f"from {visible_line(form.origin)}" if form.origin else "a new study"
    edited: list[Part] = [(", edited", "warn")] if form.edited else []
    parts = [(f" {origin}", "faint"), *edited]
    room = width - sum(cell_len(text) for text, _ in parts) - 1
    return Line((*parts, (f"{more:>{room}}" if room > len(more) else "", "faint")))


def _rows(form: Form, width: int, profiles: Mapping[str, str], room: int) -> list[tuple[str, Line]]:
    """Return name and line of each field; where there is room, a blank line between groups."""
    fields = form.fields
    airy = len(fields) + len({one.group for one in fields}) - 1 <= room
    rows: list[tuple[str, Line]] = []
    group = ""
    for one in fields:
        if one.group != group and group and airy:
            rows.append(("", Line()))
        rows.append(
            (one.name, _row(form, one, width, profiles, one.group if one.group != group else ""))
        )
        group = one.group
    return rows


def _row(form: Form, one: Field, width: int, profiles: Mapping[str, str], group: str) -> Line:
    here = one.name == form.at.name
    fault = form.fault_of(one)
    parts: list[Part] = [(f" {group:<9}", "faint"), (f"{one.name:<13}", "accent" if here else "")]
    line = Line(tuple(parts), here)
    value = _value(form, one, here, width - LEFT)
    caret = -1 if value.caret < 0 else LEFT + value.caret
    note: list[Part] = []
    if fault is not None:
        note = [(f"  ✗ {visible_line(fault_text(fault))}", "bad")]
    elif one.name == "profile" and profiles.get(form.profile):
        note = [(f"  ✗ {visible_line(profiles[form.profile])}", "bad")]
    elif said := _note(form, one):
        note = [(f"  {said}", "faint")]
    return replace(line, parts=(*parts, *value.parts, *note), caret=caret)


def _value(form: Form, one: Field, here: bool, room: int) -> Line:
    if here and form.entry is not None:
        text, at = form.entry.text, form.entry.at
        begin = max(0, at - max(8, room - 2))
        shown = visible_line(text[begin:])
        return Line(((shown + " ", "strong"),), caret=cell_len(visible_line(text[begin:at])))
    if one.kind == "flags":
        return _flags(form, one, here, room)
    shown_value = form.shown(one)
    if one.kind == "switch":
        on = shown_value.values[:1] == (True,)
        return Line(
            (("● " if on else "○ ", "good" if on else "faint"), ("yes" if on else "no", "")),
            caret=0 if here else -1,
        )
    text = visible_line(shown_value.text)
    if one.kind == "note":
        return Line(((visible_line(_searched(form)), "faint"),))
    if one.kind == "choice" and here:
        return Line((("‹ ", "faint"), (text, "strong"), (" ›", "faint")))
    if shown_value.drawn:
        return Line((("drawn: ", "faint"), (text, "")))
    return Line(((text or "–", "faint" if shown_value.usual or not text else ""),))


def _flags(form: Form, one: Field, here: bool, room: int) -> Line:
    """Return options side by side; where they do not fit, those around the one that `space` turns."""
    options, chosen = form.options(one), form.chosen(one)
    inner = form.inner(one)
    texts = []
    for option in options:
        count = chosen.count(option)
        times = f" ×{count}" if count > 1 else ""
        texts.append(visible_line(short_hook(option)) + times)
    widths = [cell_len(text) + 4 for text in texts]
    first = next((n for n, option in enumerate(options) if option in chosen), 0)
    target = inner if here else first
    begin = 0
    while begin < target and sum(widths[begin : target + 1]) > room - 2:
        begin += 1
    parts: list[Part] = [("… ", "faint")] if begin else []
    caret, used = -1, 2 if begin else 0
    for number in range(begin, len(options)):
        if used + widths[number] > room and number > target:
            parts.append(("…", "faint"))
            break
        on = options[number] in chosen
        if here and number == inner:
            caret = used
        parts += [("● " if on else "○ ", "good" if on else "faint")]
        parts += [(f"{texts[number]}  ", "" if on else "faint")]
        used += widths[number]
    return Line(tuple(parts), caret=caret)


def short_hook(name: str) -> str:
    """Return a hook's name without what all hooks share: `0.resid_post` for `blocks.0.hook_resid_post`."""
    found = re.fullmatch(r"blocks\.(\d+)\.(mlp\.)?hook_(\w+)", name)
    return f"{found[1]}.{found[2] or ''}{found[3]}" if found else name


def _note(form: Form, one: Field) -> str:
    if one.kind == "seeds":
        return plural(len(form.shown(one).values), "seed")
    if one.kind != "values" or (form.entry is not None and one.name == form.at.name):
        return ""
    shown = form.shown(one)
    if shown.mixed:
        return "differs by architecture"
    if len(shown.values) > 1:
        return f"{len(shown.values)} values"
    return "the default" if shown.usual and shown.values else ""


def _searched(form: Form) -> str:
    search = form.data.get("search")
    if not isinstance(search, dict):
        return ""
    over = search.get("over")
    paths = ", ".join(map(str, over)) if isinstance(over, dict) else ""
    kind = f"{search.get('samples')} points at random: " if search.get("kind") == "random" else ""
    return f"{kind}{paths}"


def _hint(form: Form, width: int, profiles: Mapping[str, str]) -> list[Line]:
    """Return what the line under the cursor means, or all that is wrong with it."""
    one = form.at
    fault = form.fault_of(one)
    if form.broken:
        said, tone = f"✗ {form.broken_why}: e opens your text again, esc drops it", "bad"
    elif fault is not None:
        said, tone = f"✗ {fault_text(fault)}", "bad"
    elif one.name == "profile" and profiles.get(form.profile):
        said, tone = f"✗ {profiles[form.profile]}", "bad"
    elif one.kind == "flags" and form.options(one):
        option = form.options(one)[form.inner(one)]
        said, tone = f"{option}: ␣ turns it, ← → go to the others. {one.hint}", "faint"
    else:
        said, tone = one.hint, "faint"
    wrapped = textwrap.wrap(
        visible_line(said), max(20, width - 3), max_lines=LONGEST_HINT, placeholder=" …"
    )
    return [Line(((f" {text}", "bad" if tone == "bad" else "faint"),)) for text in wrapped]
