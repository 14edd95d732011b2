"""Features: every feature of a cohort, and a card for each."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding

from engine.client.features import Features as Columns
from engine.client.microscope import Microscope
from engine.errors import InputError
from husai_tui.bindings import bindings
from husai_tui.export import Exported
from husai_tui.screens.dialogs import Choose
from husai_tui.screens.view import View
from husai_tui.state.card import map_rows, match_in
from husai_tui.state.cohorts import Choice, Opened, Shelf, Target
from husai_tui.state.features import FeaturesTable, name_of, row_of
from husai_tui.state.lens import Lens, Looks
from husai_tui.state.sight import (
    NOTHING,
    described,
    empty_text,
    lettered,
    meaning_line,
    title_line,
)
from husai_tui.widgets.bars import Bar
from husai_tui.widgets.closeup import CloseUp
from husai_tui.widgets.table import Column, Table

_REMEMBERED = ("study", "cohort", "filter")


class Features(View):
    """A table of all features of a cohort; enter opens one."""

    NAME = "features"
    PARTS = ("table",)
    FILTER_HINT = "cos>0.9 mutual live freq=23 density<0.01 stability>=.75 !dead"
    BINDINGS: ClassVar[list[Binding]] = bindings("features")  # type: ignore[assignment]
    DEFAULT_CSS = """
    Features > Bar { background: transparent; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._table = FeaturesTable()
        self._wanted = Target()
        self._goal: tuple[int | None, int | None] | None = None
        """Seed and feature that an address asked for, until they are shown."""
        self._opened = Opened()
        self._row: int | None = None
        """Row of the cohort whose card is open."""
        self._shelf: Shelf | None = None
        self._lens = Lens(self._microscope)

    def _microscope(self) -> Looks:
        return Microscope(self.session.root.path)

    def _make_shelf(self) -> Shelf:
        return Shelf(self.session.root)

    def compose(self) -> ComposeResult:
        """Return the title, the table or the card, and what the signs mean."""
        yield Bar(id="cohort")
        yield Table((), empty="")
        yield CloseUp(self._lens)
        yield Bar(id="meaning")

    # The clock

    def load(self) -> Opened:
        """Open what is wanted, or see whether it has changed."""
        if self._shelf is None:
            self._shelf = self._make_shelf()
        return self._shelf.look(self._wanted, self.session.snapshot)

    def show(self, loaded: Any) -> None:
        """Show what is open now."""
        opened: Opened = loaded
        wanted, found = self._wanted, opened.target
        if wanted.study not in ("", found.study) or wanted.cohort not in ("", found.cohort):
            self.husai.look()  # another was asked for while this one was read
            return
        if opened.features is not None:
            self._wanted = Target(opened.target.study, opened.target.cohort)
        before, self._opened = self._opened, opened
        if opened.features is not before.features:
            self._take(before.features, opened.features)
        self._reach_goal()
        self._say()

    def _take(self, before: Columns | None, features: Columns | None) -> None:
        card = name_of(before, self._row) if before and self._row is not None else ""
        self._table.take(features)
        if self._table.refused:
            self.app.notify(self._table.refused, title="filter left", markup=False, timeout=10)
        table = self.query_one(Table)
        table.set_columns(
            [
                Column(one.title, one.width, one.right, rank=one.rank, sorts=one.sorts)
                for one in self._table.columns
            ]
        )
        self._show_sort()
        same = _name(before) == _name(features)
        table.set_rows(self._table, keep=same)
        if features:
            self._lens.forget(features.study, features.cohort)
        if card:
            row = row_of(features, card) if same else None
            self._close_card() if row is None else self._open_card(row)

    def _reach_goal(self) -> None:
        if self._goal is None or self._opened.features is None:
            return
        (seed, feature), self._goal = self._goal, None
        features = self._opened.features
        try:
            row = features.row(seed or 0, feature or 0) if seed is not None else 0
        except InputError as error:
            self.app.notify(str(error), severity="warning", markup=False)
            return
        if feature is not None:
            self.query_one(Table).go_to(name_of(features, row))
            self._open_card(row)
        elif seed is not None:
            self._table.seed = seed
            self._rearrange()

    def _say(self) -> None:
        opened, row = self._opened, self._row
        self.query_one("#cohort", Bar).tell(*title_line(opened, self._table, row))
        card = self.query_one(CloseUp)
        said = (card.problem, card.caption) if row is not None else ("", "")
        self.query_one("#meaning", Bar).tell(*meaning_line(opened, row, *said))
        table, empty = self.query_one(Table), empty_text(opened)
        if table.empty != empty:
            table.empty = empty
            table.repaint()

    # The table

    def on_table_sorted(self, event: Table.Sorted) -> None:
        """Sort."""
        event.stop()
        self._table.sort = (self._table.columns[event.column].name, event.descending)
        self._rearrange()

    def on_table_chosen(self, event: Table.Chosen) -> None:
        """Open the card."""
        event.stop()
        row = row_of(self._opened.features, event.key)
        if row is not None:
            self._open_card(row)

    def _rearrange(self) -> None:
        self._table.arrange()
        self.query_one(Table).set_rows(self._table)
        self._say()

    def _show_sort(self) -> None:
        name, falling = self._table.sort
        names = [column.name for column in self._table.columns]
        self.query_one(Table).sort = (names.index(name), falling) if name in names else None

    # Keys

    def action_cohort(self) -> None:
        """Show the next cohort of the study."""
        titles = [one.title for one in self._opened.choices if one.state == "done"]
        now = self._opened.target
        if len(titles) < 2:
            self.app.notify(f"{now.study or 'nothing'} has no other analysed cohort", markup=False)
            return
        at = titles.index(now.cohort) if now.cohort in titles else -1
        self._ask_for(now.study, titles[(at + 1) % len(titles)])

    def action_choose_cohort(self) -> None:
        """Choose a study and a cohort."""
        shelf = self._shelf
        if shelf is not None:
            work = partial(self._find_choices, shelf)
            self.run_worker(work, thread=True, exit_on_error=False, group="choices")

    def _find_choices(self, shelf: Shelf) -> None:
        found = shelf.every(self.session.snapshot)
        self.app.call_from_thread(self._offer, found)

    def _offer(self, found: list[Choice]) -> None:
        if not found:
            self.app.notify(NOTHING, severity="warning")
            return

        def answered(choice: str | None) -> None:
            if choice is not None:
                self._ask_for(found[int(choice)].study, found[int(choice)].title)

        self.app.push_screen(Choose("Features of", lettered(found)), answered)

    def action_seed(self, by: int) -> None:
        """Show one seed alone, or in a card the feature's match in the next seed."""
        features = self._opened.features
        if features is None:
            return
        if self._row is None:
            self._table.step_seed(by)
            self._rearrange()
            return
        seed, row = match_in(features, self._row, by)
        if row is None:
            self.app.notify(f"seed {seed} has no match", severity="warning")
            return
        self._open_card(row)

    def on_close_up_moved(self, event: CloseUp.Moved) -> None:
        """Open the card of another row."""
        if self._row is None:
            return
        table, place = self.query_one(Table), self._table.place(self._row)
        to = min(
            max(0, (table.cursor if place is None else place) + event.by), len(self._table) - 1
        )
        if 0 <= to < len(self._table) and to != place:
            self._open_card(self._table.row(to))

    def action_map(self) -> None:
        """Compute the map anew."""
        if self._row is not None:
            self.query_one(CloseUp).look_again()

    def maximise(self) -> None:
        """Give the map all the room, or all parts theirs."""
        if self._row is not None:
            self.query_one(CloseUp).resize_map()

    def back(self) -> bool:
        """Close the card."""
        was = self._row is not None
        if was:
            self._close_card()
            self._say()
        return was

    def _ask_for(self, study: str, cohort: str) -> None:
        if self._row is not None:
            self._close_card()
        self._wanted = Target(study, cohort)
        self.husai.look()

    # The card

    def _open_card(self, row: int) -> None:
        features = self._opened.features
        if features is None:
            return
        self._row = row
        table, card = self.query_one(Table), self.query_one(CloseUp)
        place = self._table.place(row)
        if place is not None:
            table.go_to(self._table.key(place))
        table.display, card.display = False, True
        if self.husai.current == self.NAME:
            card.focus()
        card.look_at(features, row)

    def _close_card(self) -> None:
        self._row = None
        table, card = self.query_one(Table), self.query_one(CloseUp)
        table.display, card.display = True, False
        card.look_away()
        if self.husai.current == self.NAME:
            table.focus()

    def on_close_up_drawn(self) -> None:
        """Say what there is to say of the card now."""
        self._say()

    # What every view does

    def open(self, target: str) -> None:
        """Show what an address names: `STUDY/COHORT TITLE#seed:feature`."""
        named = Target.read(target)
        if self._row is not None:
            self._close_card()
        if named.study:
            self._wanted = Target(named.study, named.cohort)
        self._goal = (named.seed, named.feature)

    @property
    def target(self) -> str:
        """The study, the cohort, and the card or the seed that is shown."""
        features, place = self._opened.features, self._opened.target
        if features is None:
            return str(self._wanted)
        seed, feature = self._table.seed, None
        if self._row is not None:
            seed, feature = features.seeds[self._row // features.width], self._row % features.width
        return str(Target(place.study, place.cohort, seed, feature))

    def set_filter(self, text: str) -> str:
        """Show the features that satisfy every word; return what is wrong with one."""
        problem = self._table.set_filter(text)
        if not problem:
            self.query_one(Table).set_rows(self._table)
            self._say()
        return problem

    @property
    def filter_text(self) -> str:
        """The filter in force."""
        return self._table.filter

    def describe(self) -> str:
        """Return what is shown in full sentences."""
        return described(self._opened, self._table, self._row, self.query_one(CloseUp).card)

    def exported(self) -> Exported | None:
        """Return the rows in sight of the filter, or the map of the card."""
        features = self._opened.features
        if features is None:
            return None
        if self._row is None:
            return Exported("features", *self._table.written(), self.command)
        card = self.query_one(CloseUp).card
        if card is None:
            return None
        name = f"feature-{name_of(features, self._row).replace(':', '-')}"
        return Exported(name, *map_rows(card), self.command)

    def row_text(self) -> str:
        """Return `study/cohort#seed:feature` of the row under the cursor."""
        features = self._opened.features
        key = self.query_one(Table).cursor_key
        row = self._row if self._row is not None else row_of(features, key)
        if features is None or row is None:
            return ""
        return f"{features.study}/{features.cohort}#{name_of(features, row)}"

    def remember(self) -> dict[str, Any]:
        """Return the cohort, the filter and the order."""
        name, falling = self._table.sort
        place = self._wanted
        return {
            "study": place.study,
            "cohort": place.cohort,
            "filter": self._table.filter,
            "sort": name,
            "descending": falling,
        }

    def recall(self, remembered: dict[str, Any]) -> None:
        """Take them."""
        study, cohort, text = (str(remembered.get(name) or "") for name in _REMEMBERED)
        self._wanted, self._table.filter = Target(study, cohort), text
        if "sort" in remembered:
            falling = bool(remembered.get("descending"))
            self._table.sort = (str(remembered["sort"] or ""), falling)

    def focus_main(self) -> None:
        """Put the keys where they are of most use."""
        (self.query_one(Table) if self._row is None else self.query_one(CloseUp)).focus()


def _name(features: Columns | None) -> tuple[str, str] | None:
    return (features.study, features.cohort) if features else None
