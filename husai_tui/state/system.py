"""The System screen: meters of this machine, what each profile would do here, and the doctor's findings."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.client.machine import Gpu, Load
from engine.disk.text import visible_line
from engine.doctor import Finding
from engine.study.profile import KNOWN_GAPS, Placement, Profile
from husai_tui.state.meter import History, Steady, bar, levels, plural, size
from husai_tui.tones import Line, Part, Tone

LABEL = 10
"""Cells of a meter's name."""
SLACK = 0.025
"""How far a share moves before its number does: an idle machine is not all still."""
FULL, NEARLY = 0.95, 0.85
"""Shares of memory and disk from which a meter warns."""
MOST_BARS = 32
"""Cores up to which each has its bar where there is room."""
CORES_EACH = 8
"""Cores up to which each has its number."""
GLYPHS: dict[str, tuple[str, Tone]] = {
    "ok": ("✓", "good"),
    "note": ("·", "faint"),
    "warning": ("!", "warn"),
    "error": ("✗", "bad"),
}
"""State of a finding → how it is marked."""
WORST_FIRST = ("error", "warning", "note", "ok")
Placed = tuple[Profile, Placement | None, str]


@dataclass(frozen=True)
class Meter:
    """One bar: a share, what it is of, and whether much of it is bad news."""

    name: str
    share: float
    note: str
    scarce: bool = False


class Meters:
    """The bars, their histories, and the numbers that stay until something has really changed."""

    def __init__(self) -> None:
        self.load = Load()
        self._steady: dict[str, Steady] = {}
        self._history: dict[str, History] = {}

    def take(self, load: Load, now: float) -> None:
        """Take in a look at the machine, at a time in seconds."""
        self.load = load
        for meter in self._meters():
            self._history.setdefault(meter.name, History()).add(meter.share, now)

    def _meters(self) -> list[Meter]:
        load = self.load
        found = [Meter("cpu", load.cpu, self._cpu_note())]
        found.append(_filled("memory", load.memory, scarce=True))
        if load.swap[1]:
            found.append(_filled("swap", load.swap))
        found.append(_filled("disk", load.disk, scarce=True))
        for number, gpu in enumerate(load.gpus):
            name = f"gpu {number}"
            if gpu.busy is not None:
                found.append(Meter(name, gpu.busy, _gpu_note(gpu)))
            found.append(_filled(f"{name} mem", (gpu.used, gpu.total), scarce=True))
        return found

    def _cpu_note(self) -> str:
        note = plural(len(self.load.cores), "core")
        if self.load.load:
            average = self._steady_of("load", 0.5).take(self.load.load[0])
            note += f", load {average:.1f}"
        return note

    def _steady_of(self, name: str, slack: float) -> Steady:
        return self._steady.setdefault(name, Steady(slack))

    def lines(self, width: int, *, tall: bool = False) -> list[Line]:
        """Return a line per meter, the cores (`tall`: a bar for each of a few), and why GPUs cannot be read."""
        if not self.load.cores:
            return [Line(((" looking at the machine", "faint"),))]
        lines = []
        for meter in self._meters():
            lines.append(self._line(meter, width))
            if meter.name == "cpu":
                lines += self._core_bars(width) if tall else self._cores(width)
        if self.load.gpu_note:
            lines.append(Line(((f" {'gpu':<{LABEL}}", "faint"), (self.load.gpu_note, "warn"))))
        return lines

    def _line(self, meter: Meter, width: int) -> Line:
        share = self._steady_of(meter.name, SLACK).take(meter.share)
        bars, past = _widths(width)
        done, rest = bar(round(share, 2), bars)
        tone: Tone = "accent"
        note = meter.note
        if meter.scarce and share >= NEARLY:
            tone = "bad" if share >= FULL else "warn"
            note = f"{note}, {'full' if share >= FULL else 'nearly full'}"
        spark = levels(self._history[meter.name].last(past)) if meter.name in self._history else ""
        parts: list[Part] = [(f" {meter.name:<{LABEL}}", "faint"), (done, tone), (rest, "rule")]
        parts += [(f"{round(100 * share):>4} %  ", ""), (f"{spark:<{past}}  ", "faint")]
        return Line((*parts, (note, tone if tone in ("bad", "warn") else "faint")))

    def _core_bars(self, width: int) -> list[Line]:
        if len(self.load.cores) > MOST_BARS:
            return self._cores(width)
        bars = _widths(width)[0]
        lines = []
        for number, share in enumerate(self.load.cores):
            shown = self._steady_of(f"core {number}", 0.1).take(share)
            done, rest = bar(round(shown, 2), bars)
            label: Part = (f"   {number:<{LABEL - 2}}", "faint")
            lines.append(
                Line(
                    (
                        label,
                        (done, "accent"),
                        (rest, "rule"),
                        (f"{round(100 * shown):>4} %", "faint"),
                    )
                )
            )
        return [*lines, Line()]

    def _cores(self, width: int) -> list[Line]:
        """Return a block per core; with few cores their numbers, too."""
        shares = [
            self._steady_of(f"core {n}", 0.1).take(share) for n, share in enumerate(self.load.cores)
        ]
        if len(shares) <= CORES_EACH:
            each = [f"{levels([s])} {round(100 * s):>3} %" for s in shares]
            told = "  ".join(each)
            if len(told) > width - LABEL - 2:
                told = " ".join(each)
            return [Line(((f" {'cores':<{LABEL}}", "faint"), (told, "faint")))]
        per_line = max(8, (width - LABEL - 2) // 9 * 8)
        lines = []
        for begin in range(0, len(shares), per_line):
            some = shares[begin : begin + per_line]
            groups = [levels(some[n : n + 8]) for n in range(0, len(some), 8)]
            label = "cores" if begin == 0 else ""
            lines.append(Line(((f" {label:<{LABEL}}", "faint"), (" ".join(groups), "accent"))))
        return lines

    def told(self) -> str:
        """Return the machine in a sentence."""
        meters = ", ".join(f"{m.name} {round(100 * m.share)} % ({m.note})" for m in self._meters())
        return meters if self.load.cores else "the machine was not looked at yet"


def _widths(width: int) -> tuple[int, int]:
    """Return the cells of a bar and of its history: what the name, the number and the longest note leave."""
    room = min(max(width - LABEL - 41, 12), 96)
    return room * 3 // 5, room - room * 3 // 5


def _filled(name: str, used: tuple[int, int], scarce: bool = False) -> Meter:
    share = used[0] / used[1] if used[1] else 0.0
    return Meter(name, share, f"{_rounded(used[0])} of {size(used[1])}", scarce)


def _rounded(count: int) -> str:
    """Return bytes so that small changes do not show."""
    return (
        size(round(count / 2**28) * 2**28) if count > 2**30 else size(round(count / 2**25) * 2**25)
    )


def _gpu_note(gpu: Gpu) -> str:
    parts = []
    if gpu.celsius is not None:
        parts.append(f"{5 * round(gpu.celsius / 5)} °C")
    if gpu.watts is not None:
        parts.append(f"{10 * round(gpu.watts / 10)} W")
    return ", ".join([*parts, visible_line(gpu.name)])


@dataclass(frozen=True)
class Row:
    """One line of the list that the cursor can stand on."""

    key: str
    line: Line
    about: str
    """All that is known of it."""
    values: tuple[Any, ...] = ()
    """For export: section, name, state, what, remedy."""


class Details:
    """Profiles, findings, workers, and what the runs root holds, as one list."""

    def __init__(self) -> None:
        self.placed: Sequence[Placed] = ()
        self.findings: Sequence[Finding] | None = None
        """None: the doctor has not come yet."""
        self.trouble = ""
        """Why the doctor could not look."""
        self.looking = False
        self.stored: int | None = None
        """Bytes below the runs root; None: not counted yet."""
        self.garbage: int | None = None
        """Bytes of it that can be removed."""
        self.load = Load()
        self.profile = ""
        self.running_profile = ""
        """Profile of the engine that is up."""
        self.root = ""
        self.cursor = ""
        self.places: dict[int, str] = {}
        """Line on the screen → key of the row on it, for the mouse."""

    def sections(self) -> list[tuple[str, str, list[Row]]]:
        """Return title, remark and rows of each section."""
        found = [("profiles", self._profile_remark(), [self._profile(one) for one in self.placed])]
        found.append(("doctor", self._doctor_remark(), self._findings()))
        if self.load.workers:
            rows = [self._worker(one) for one in self.load.workers]
            found.append(("workers", f"{len(rows)} of the engine", rows))
        found.append(("runs root", visible_line(self.root), [self._storage()]))
        return found

    def rows(self) -> list[Row]:
        """Return all rows."""
        return [row for _, _, rows in self.sections() for row in rows]

    @property
    def at(self) -> Row | None:
        """The row under the cursor."""
        rows = self.rows()
        wanted = self.cursor or f"profile {self.profile}"
        return next((row for row in rows if row.key == wanted), rows[0] if rows else None)

    def move(self, by: int) -> None:
        """Go up or down."""
        keys = [row.key for row in self.rows()]
        if keys:
            place = keys.index(self.at.key) if self.at else 0
            self.cursor = keys[min(max(0, place + by), len(keys) - 1)]

    @property
    def length(self) -> int:
        """Lines of the whole list."""
        return sum(len(rows) + 2 for _, _, rows in self.sections()) - 1

    def lines(self, height: int, width: int) -> list[Line]:
        """Return the lines in sight: those around the cursor."""
        here = self.at.key if self.at else ""
        lines: list[Line] = []
        at = 0
        places: dict[int, str] = {}
        for title, remark, rows in self.sections():
            if lines:
                lines.append(Line())
            heading = f" {title}  "
            lines.append(Line(((heading, "strong"), (remark, "faint"))))
            for row in rows:
                at = len(lines) if row.key == here else at
                places[len(lines)] = row.key
                lines.append(Line(row.line.parts, row.key == here))
        top = (
            min(max(0, at - min(height * 2 // 3, height - 2)), max(0, len(lines) - height))
            if at > height - 2
            else 0
        )
        seen = lines[top : top + height]
        self.places = {line - top: key for line, key in places.items() if line >= top}
        more = len(lines) - top - height
        if more > 0 and seen:
            seen[-1] = Line(((f"{f'{more + 1} more below':>{width - 1}}", "faint"),))
        return seen

    def about(self, width: int, height: int) -> list[Line]:
        """Return all that is known of the row under the cursor, wrapped."""
        said = visible_line(self.at.about) if self.at else ""
        wrapped = textwrap.wrap(said, max(20, width - 2), max_lines=height, placeholder=" …")
        return [Line(((f" {text}", "faint"),)) for text in wrapped]

    def _profile_remark(self) -> str:
        said = "● is for the next sweep and the next engine"
        other = self.running_profile and self.running_profile != self.profile
        return f"{said}; the engine runs {self.running_profile}" if other else said

    def _profile(self, placed: Placed) -> Row:
        profile, placement, reason = placed
        mine = profile.name == self.profile
        mark: Part = (" ● ", "accent") if mine else (" ○ ", "faint")
        if placement is None:
            mark = (" ✗ ", "bad" if mine else "faint")
            line = Line((mark, (f"{profile.name:<8}", "faint"), (reason, "faint")))
            values = ("profile", profile.name, "does not fit", reason, "")
            return Row(
                f"profile {profile.name}",
                line,
                f"{profile.description} It does not fit: {reason}",
                values,
            )
        threads = plural(placement.threads, "thread")
        slots = f"{plural(placement.slots, 'worker')} of {threads}"
        memory = size(placement.memory_bytes)
        repeats = "repeatable" if placement.deterministic else "not repeatable"
        line = Line(
            (
                mark,
                (f"{profile.name:<8}", "accent" if mine else ""),
                (f"{placement.device:<5} {slots:<21} {memory:>8}  ", ""),
                (f"{placement.precision}, {repeats}", "faint"),
            )
        )
        spread = f" over {len(placement.gpus)} GPUs" if placement.gpus else ""
        gaps = "".join(f" Known gap: {gap}." for gap in KNOWN_GAPS.get(placement.device, ()))
        about = (
            f"{profile.description} Here: {placement.device}, {slots}{spread}, {memory} of memory allowed"
            f"{placement.memory_note}, {placement.precision}, {repeats}. ↵ takes it.{gaps}"
        )
        values = ("profile", profile.name, "fits", f"{placement.device}, {slots}, {memory}", "")
        return Row(f"profile {profile.name}", line, about, values)

    def _doctor_remark(self) -> str:
        if self.looking:
            return "is looking; torch is imported in a process of its own"
        if self.trouble:
            return f"could not look: {visible_line(self.trouble)}"
        if self.findings is None:
            return "D lets it look"
        counts = [(s, sum(f.state == s for f in self.findings)) for s in WORST_FIRST]
        names = {"error": "error", "warning": "warning", "note": "note"}
        told = [plural(n, names[s]) if s in names else f"{n} ok" for s, n in counts if n]
        return ", ".join(told)

    def _findings(self) -> list[Row]:
        ordered = sorted(self.findings or (), key=lambda one: WORST_FIRST.index(one.state))
        rows = []
        for number, one in enumerate(ordered):
            glyph, tone = GLYPHS[one.state]
            what = visible_line(one.what)
            parts: list[Part] = [(f" {glyph} ", tone), (f"{one.topic:<11}", "")]
            parts.append((what, "faint" if one.state == "ok" else tone))
            if one.remedy:
                parts.append((f"  → {visible_line(one.remedy)}", ""))
            about = f"{one.topic}: {one.what}" + (f" → {one.remedy}" if one.remedy else "")
            values = ("doctor", one.topic, one.state, one.what, one.remedy)
            rows.append(Row(f"doctor {number} {one.topic}", Line(tuple(parts)), about, values))
        return rows

    def _worker(self, one: Any) -> Row:
        busy = f"{10 * round(10 * one.cores)} %"
        memory = _rounded(one.memory)
        name = visible_line(one.name)
        parts: list[Part] = [(f"   {one.pid:>8}  ", "faint"), (f"{busy:>6}  {memory:>8}  ", "")]
        about = f"process {one.pid}: {name}, {busy} of a core, {memory}; {one.directory}"
        values = ("worker", str(one.pid), busy, name, memory)
        return Row(f"worker {one.pid}", Line((*parts, (name, ""))), about, values)

    def _storage(self) -> Row:
        stored = "not counted yet" if self.stored is None else size(self.stored)
        left: Part = ("g looks for what can be removed", "faint")
        if self.garbage is not None:
            left = (
                (f"{size(self.garbage)} can be removed: g", "warn")
                if self.garbage
                else ("nothing to remove", "faint")
            )
        line = Line((("   holds   ", "faint"), (f"{stored}  ", ""), left))
        return Row(
            "storage",
            line,
            f"{self.root} holds {stored}; {left[0]}.",
            ("storage", self.root, "", stored, left[0]),
        )

    def told(self) -> str:
        """Return profile and findings in a sentence."""
        fits = ", ".join(p.name for p, placement, _ in self.placed if placement) or "none"
        bad = [row.about for row in self._findings() if row.values[2] in ("error", "warning")]
        doctor = "; ".join(bad) or self._doctor_remark()
        return f"profile {self.profile}; profiles that fit: {fits}; doctor: {doctor}"
