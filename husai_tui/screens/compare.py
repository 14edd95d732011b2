"""Compare: the cohorts of a study, how far their seeds agree beyond chance, and what that rests on."""

from __future__ import annotations

from shlex import quote
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding

from engine.disk.text import visible_line
from engine.errors import InputError
from husai_tui.bindings import bindings
from husai_tui.export import Exported
from husai_tui.screens.dialogs import Reading
from husai_tui.screens.overlap import WIDE, Overlap, set_room
from husai_tui.screens.view import View
from husai_tui.state.compare import COLUMNS, INTERVAL, Cohorts
from husai_tui.state.evidence import (
    Line,
    described,
    evidence,
    row_text,
    subject_line,
    title,
    warning_lines,
)
from husai_tui.state.guide import guide_lines
from husai_tui.state.heat import Heat
from husai_tui.state.intervals import scale
from husai_tui.state.summaries import Finding, Summaries, unfinished
from husai_tui.widgets.bars import Bar
from husai_tui.widgets.heatmap import Heatmap
from husai_tui.widgets.statement import Statement
from husai_tui.widgets.table import Column, Table

AROUND_LOWER = 3
"""Lines of the subject, of the title, and an empty one between."""
PAGE = 74
"""Columns of a page to read, at the narrowest."""
MOST_PINS = 32


class Compare(View):
    """Cohorts above; below, of the one under the cursor, the overlap of its seeds and the evidence."""

    NAME = "compare"
    PARTS = ("table",)
    FILTER_HINT = "words of a cohort, or a verdict; !word leaves out"
    BINDINGS: ClassVar[list[Binding]] = bindings("compare")  # type: ignore[assignment]
    DEFAULT_CSS = """
    Compare > Bar { background: transparent; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._cohorts = Cohorts()
        self._finding = Finding()
        self._summaries: Summaries | None = None
        self._wanted, self._wanted_cohort = "", ""
        self._pins: dict[str, str] = {}
        self._large = False

    def compose(self) -> ComposeResult:
        """Return the subject, the cohorts, and what the verdict on one of them rests on."""
        yield Bar(id="subject")
        yield Table((), empty="no cohort matches", id="cohorts")
        yield Bar(id="more")
        yield Bar(id="about")
        yield Overlap()

    # Looking

    def load(self) -> Finding:
        """Read the summary, if it has changed."""
        if self._summaries is None:
            self._summaries = Summaries(self.session.root)
        try:
            return self._summaries.find(self._wanted, self.session.snapshot)
        except InputError:
            self._wanted, self._wanted_cohort = self._finding.study, ""
            raise

    def show(self, loaded: Finding) -> None:
        """Show the study as it is now."""
        before, self._finding = self._finding, loaded
        cohorts, table = self._cohorts, self.query_one(Table)
        if before.study != loaded.study:
            cohorts.pinned = self._pins.get(loaded.study, "")
        cohorts.set_comparison(loaded.comparison)
        table.sort = cohorts.sort if cohorts.sort[0] >= 0 else None
        if self._wanted_cohort and loaded.comparison:
            wanted, self._wanted_cohort = self._wanted_cohort, ""
            table.set_rows(cohorts)
            if not table.go_to(self._label_of(wanted)):
                self.app.notify(
                    f"{loaded.study} has no cohort {wanted}", severity="warning", markup=False
                )
        self._paint()

    def _label_of(self, name: str) -> str:
        found = self._finding.comparison
        assert found is not None, "asked for one of its cohorts"
        titles = [label for label, cohort in found.cohorts.items() if cohort["title"] == name]
        return name if name in found.cohorts else next(iter(titles), name)

    def _paint(self) -> None:
        cohorts, found = self._cohorts, self._finding.comparison
        table, about = self.query_one(Table), self.query_one("#about", Bar)
        subject = self.query_one("#subject", Bar)
        if found is None:
            more = self.query_one("#more", Bar)
            for widget in (subject, table, more, about, self.query_one(Heatmap)):
                widget.display = False
            self.query_one(Statement).tell(unfinished(self._finding))
            self._keep_focus()
            return
        table.display, about.display, subject.display = not self._large, True, True
        self.query_one("#more", Bar).display = True
        self._keep_focus()
        wide = self.size.width >= WIDE
        cohorts.interval = INTERVAL + wide * (12 + (self.size.width - WIDE) // 4)
        cohorts.arrange()
        subject.tell(subject_line(found, self._finding.jobs), self._place())
        table.set_columns(_columns(cohorts, 2 * wide))
        table.set_rows(cohorts)
        self._paint_lower()

    def _keep_focus(self) -> None:
        """Keep the keys in this screen: what is hidden loses them, and the cohorts take them back."""
        table, text = self.query_one(Table), self.query_one(Statement)
        held = self.screen.focused
        if not table.display and held in (None, table):
            text.focus()
        elif table.display and held in (None, text):
            table.focus()

    def _place(self) -> Line:
        studies = self._finding.studies
        if len(studies) < 2 or self._finding.study not in studies:
            return []
        return [(f"{studies.index(self._finding.study) + 1}/{len(studies)}", "faint")]

    def _paint_lower(self) -> None:
        cohorts, label = self._cohorts, self.query_one(Table).cursor_key
        found, heat = cohorts.comparison, Heat()
        if found is not None and label:
            heat = found.heat(label, cohorts.metric, cohorts.subset)
        right: Line = [("Δ ◆", "accent")] if cohorts.delta else []
        if cohorts.filter:
            right.append((f"  /{cohorts.filter}", "accent"))
        self.query_one("#about", Bar).tell(title(cohorts, label), right)
        width, lines = self._arrange(heat)
        brief = lines < (8 if self._large else 12)
        self.query_one(Statement).tell(evidence(cohorts, label, width, brief=brief))

    def _arrange(self, heat: Heat) -> tuple[int, int]:
        """Share out the room; return the columns and lines of the text."""
        high, overlap = self.size.height - AROUND_LOWER, self.query_one(Overlap)
        rows = max(3, len(self._cohorts) + 1)
        rows = min(rows, max(4, high - overlap.wanted(heat, self.size.width)))
        set_room(self.query_one(Table), rows, None)
        hidden = 0 if self._large else len(self._cohorts) - (rows - 1)
        self.query_one("#more", Bar).tell(_hidden(hidden, len(self._cohorts)), [])
        left = high - (0 if self._large else rows)
        return overlap.share_out(heat, self.size.width, left)

    def on_resize(self) -> None:
        """Share out the room anew."""
        if self._finding.comparison is not None:
            self._paint()

    def on_table_moved(self, event: Table.Moved) -> None:
        """Show the cohort under the cursor."""
        event.stop()
        self._paint_lower()

    def on_table_sorted(self, event: Table.Sorted) -> None:
        """Sort."""
        event.stop()
        self._cohorts.sort = (event.column, event.descending)
        self._paint()

    def on_table_chosen(self, event: Table.Chosen) -> None:
        """Open the features of the cohort."""
        event.stop()
        self.husai.go("features", f"{self._finding.study}/{event.key}")

    # Keys

    def action_study(self, by: int) -> None:
        """Show the next study, or the one before."""
        studies = self._finding.studies
        if len(studies) < 2:
            self.app.notify("there is no other study here", timeout=3)
            return
        now = self._wanted or self._finding.study
        at = studies.index(now) if now in studies else 0
        self._wanted = studies[(at + by) % len(studies)]
        self.husai.look()

    def action_metric(self) -> None:
        """Take the next metric."""
        self._cohorts.next_metric()
        self._paint()

    def action_subset(self) -> None:
        """Take all features, or the live ones."""
        self._cohorts.flip_subset()
        self._paint()

    def action_pin(self) -> None:
        """Make the cohort the baseline, or none."""
        label = self.query_one(Table).cursor_key
        if self._finding.comparison is not None and label:
            self._cohorts.pin(label)
            self._pins.pop(self._finding.study, None)
            if self._cohorts.pinned:
                self._pins[self._finding.study] = self._cohorts.pinned
            self._paint()

    def action_differences(self) -> None:
        """Show all others as differences to the baseline, or as they are."""
        if not self._cohorts.pinned:
            self.app.notify("P pins a baseline first", severity="warning", timeout=3)
            return
        self._cohorts.delta = not self._cohorts.delta
        self._paint()

    def action_warnings(self) -> None:
        """Read the warnings on the cohort."""
        label, found = self.query_one(Table).cursor_key, self._finding.comparison
        if found is not None and label:
            self._read(f"Warnings: {label}", warning_lines(found, label, PAGE))

    def action_evidence(self) -> None:
        """Read all that the verdict rests on."""
        label = self.query_one(Table).cursor_key
        if self._finding.comparison is not None and label:
            self._read(label, evidence(self._cohorts, label, PAGE))

    def action_guide(self) -> None:
        """Read what the numbers mean, what would change the verdict, and what not to conclude."""
        label = self.query_one(Table).cursor_key
        lines = guide_lines(self._finding.comparison, label, PAGE)
        self._read("What the numbers mean", lines)

    def _read(self, name: str, lines: list[Line]) -> None:
        styles = {"faint": "dim", "strong": "bold", "accent": "bold", "bad": "bold"}
        text = Text("\n").join(
            Text.assemble(*((visible_line(part), styles.get(tone, "")) for part, tone in line))
            for line in lines
        )
        self.app.push_screen(Reading(visible_line(name), text))

    # What every screen has

    def open(self, target: str) -> None:
        """Show a study, and a cohort of it: `STUDY/COHORT TITLE`."""
        self._wanted, _, self._wanted_cohort = target.partition("/")

    @property
    def target(self) -> str:
        """The study and the cohort in sight."""
        label = self.query_one(Table).cursor_key if self._finding.comparison else ""
        return f"{self._finding.study}/{label}" if label else self._finding.study

    @property
    def command(self) -> str:
        """The command that prints the report."""
        if not self._finding.study:
            return super().command
        return f"husai-engine report {quote(self._finding.study)}{self.session.runs_option}"

    def describe(self) -> str:
        """Return the verdict on the selected cohort, and the counts of all."""
        if self._finding.comparison is None:
            return ". ".join(
                "".join(text for text, _ in line) for line in unfinished(self._finding)[:2]
            )
        return described(self._cohorts, self.query_one(Table).cursor_key)

    def exported(self) -> Exported | None:
        """Return every cohort in sight of the filter: its figures, the pairs of its seeds, its nulls."""
        found, cohorts = self._finding.comparison, self._cohorts
        if found is None:
            return None
        columns = ("metric", "subset", *COLUMNS, "null_name", "ci_low", "ci_high", "pairs")
        rows = []
        for row in range(len(cohorts)):
            label = cohorts.key(row)
            cell, used = found.cell(label, cohorts.metric, cohorts.subset)
            values = [
                None if name == "interval" else cohorts.value(label, name) for name in COLUMNS
            ]
            pairs = found.heat(label, cohorts.metric, cohorts.subset).pairs
            more = [cell.get(name) for name in ("null_name", "ci_low", "ci_high")]
            rows.append([cohorts.metric, used, *values, *more, pairs])
        keep = [place for place, name in enumerate(columns) if name != "interval"]
        return Exported(
            f"compare-{found.study}",
            [columns[place] for place in keep],
            [[row[place] for place in keep] for row in rows],
            self.command,
        )

    def row_text(self) -> str:
        """Return the cohort with its agreement in a line."""
        return row_text(self._cohorts, self.query_one(Table).cursor_key)

    def set_filter(self, text: str) -> str:
        """Show the cohorts that have all words; `!word` leaves out."""
        self._cohorts.filter = text.strip()
        if self._finding.comparison is not None:
            self._paint()
        return ""

    @property
    def filter_text(self) -> str:
        """The filter in force."""
        return self._cohorts.filter

    def maximise(self) -> None:
        """Give what the verdict rests on all the room, or the cohorts theirs."""
        if self._finding.comparison is not None:
            self._large = not self._large
            self._paint()

    def back(self) -> bool:
        """Bring the cohorts back; then show figures instead of differences."""
        if self._large:
            self.maximise()
            return True
        if self._cohorts.delta:
            self.action_differences()
            return True
        return False

    def remember(self) -> dict[str, Any]:
        """Return study, cohort, metric, baselines, filter and order."""
        cohorts = self._cohorts
        column, descending = cohorts.sort
        return {
            "target": self.target or "/".join(filter(None, (self._wanted, self._wanted_cohort))),
            "metric": cohorts.metric,
            "subset": cohorts.subset,
            "pins": dict(list(self._pins.items())[-MOST_PINS:]),
            "filter": cohorts.filter,
            "sort": COLUMNS[column] if column >= 0 else "",
            "descending": descending,
        }

    def recall(self, remembered: dict[str, Any]) -> None:
        """Take what was remembered; a study that is gone gives way to the newest."""
        study, _, cohort = str(remembered.get("target", "")).partition("/")
        if study and (self.session.root.path / study).is_dir():
            self._wanted, self._wanted_cohort = study, cohort
        pins = remembered.get("pins")
        if isinstance(pins, dict):
            self._pins = {str(name): str(label) for name, label in pins.items()}
        cohorts = self._cohorts
        cohorts.metric = str(remembered.get("metric", ""))
        cohorts.subset = "all" if remembered.get("subset") == "all" else "live"
        cohorts.filter = str(remembered.get("filter", ""))
        name = remembered.get("sort")
        if name in COLUMNS:
            cohorts.sort = (COLUMNS.index(name), bool(remembered.get("descending")))


def _hidden(hidden: int, every: int) -> Line:
    """Say that a table is longer than what is seen of it; nothing where all of it is."""
    if hidden <= 0:
        return []
    return [(f"↕ {every - hidden} of {every} cohorts in sight: j k reach the others", "faint")]


def _columns(cohorts: Cohorts, more: int) -> tuple[Column, ...]:
    """Return the columns, those of figures with some more room."""
    delta = "Δ" if cohorts.delta else ""
    interval = cohorts.interval
    return (
        Column("cohort", 18, grows=True),
        Column("architecture", 12, rank=9),
        Column("width", 6 + more, right=True, rank=9),
        Column("k or l1", 9 + more, right=True, rank=9),
        Column("seeds", 5 + more, right=True, rank=7),
        Column(f"{delta}EV", (5 if delta else 4) + more, right=True),
        Column(f"{delta}L0", (6 if delta else 5) + more, right=True, rank=4),
        Column(f"{delta}dead", 6 + more, right=True, rank=8),
        Column(f"{delta}obs.", (5 if delta else 4) + more, right=True),
        Column(f"{delta}null", 8 + more, right=True, rank=3),
        Column(f"{delta}κ", 5 + more, right=True),
        Column(scale(cohorts.axis, interval), interval, sorts=False),
        Column("verdict" if not cohorts.delta else "intervals", 12),
        Column("", 2, right=True, sorts=False),
    )
