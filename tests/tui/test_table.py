"""The table: any length, a cursor that stays on its item, columns that give way, and little to send."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from textual.app import App, ComposeResult
from textual.geometry import Region

from husai_tui.themes import DARK
from husai_tui.tones import Cell
from husai_tui.widgets.table import Column, Table

COLUMNS = (
    Column("name", 10),
    Column("number", 8, right=True, rank=1),
    Column("grows", 10, grows=True, rank=2),
    Column("last", 20, rank=3),
)


class Numbers:
    """Rows 0, 1, 2…, or the other way round; counts what it was asked."""

    def __init__(self, count: int, *, backwards: bool = False) -> None:
        self.count, self.backwards = count, backwards
        self.asked: set[int] = set()
        self.texts: dict[int, str] = {}

    def __len__(self) -> int:
        return self.count

    def _item(self, row: int) -> int:
        return self.count - 1 - row if self.backwards else row

    def cells(self, row: int) -> Sequence[Cell]:
        assert 0 <= row < self.count
        self.asked.add(row)
        item = self._item(row)
        return (self.texts.get(item, f"row {item}"), (str(item), "good"), "middle", "end")

    def key(self, row: int) -> str:
        return str(self._item(row))

    def find(self, key: str) -> int | None:
        return self._item(int(key)) if int(key) < self.count else None


class Watched(Table):
    """Takes note of what it refreshes."""

    def __init__(self) -> None:
        super().__init__(COLUMNS, empty="nothing yet")
        self.refreshed: list[Region] = []

    def refresh(self, *regions: Region, **options: bool) -> Watched:
        self.refreshed += regions or [Region()]
        super().refresh(*regions, **options)  # type: ignore[arg-type]
        return self


class Shown(App[None]):
    def __init__(self, rows: Numbers) -> None:
        super().__init__()
        self.register_theme(DARK)
        self.theme = DARK.name
        self.rows, self.sorts = rows, list[tuple[int, bool]]()
        self.chosen = list[str]()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return {"faint": "ansi_bright_black", "rule": "ansi_bright_black"}

    def compose(self) -> ComposeResult:
        yield Watched()

    def on_mount(self) -> None:
        self.table.set_rows(self.rows)
        self.table.focus()

    @property
    def table(self) -> Watched:
        return self.query_one(Watched)

    def on_table_sorted(self, event: Table.Sorted) -> None:
        self.sorts.append((event.column, event.descending))

    def on_table_chosen(self, event: Table.Chosen) -> None:
        self.chosen.append(event.key)

    def lines(self) -> list[str]:
        return [self.table.render_line(y).text for y in range(self.table.size.height)]


async def test_of_a_hundred_thousand_rows_only_those_in_sight_are_asked_for() -> None:
    app = Shown(Numbers(100_000))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert max(app.rows.asked) <= 23
        app.rows.asked.clear()
        await pilot.press("G")
        await pilot.pause()
        assert app.table.cursor == 99_999
        assert min(app.rows.asked) > 99_970
        assert "row 99999" in app.lines()[23]


async def test_the_cursor_stays_on_its_item_when_the_order_changes() -> None:
    app = Shown(Numbers(50))
    async with app.run_test(size=(80, 10)) as pilot:
        await pilot.press("j", "j", "j")
        app.table.set_rows(Numbers(50, backwards=True))
        assert app.table.cursor_key == "3"
        assert app.table.cursor == 46
        assert any("row 3 " in line for line in app.lines())
        app.table.set_rows(Numbers(2))  # the item is gone: the cursor goes to the last one
        assert app.table.cursor_key == "1"
        app.table.set_rows(Numbers(0))
        assert app.table.cursor_key == ""
        assert "nothing yet" in app.lines()[2]


@pytest.mark.parametrize(
    ("keys", "cursor"),
    [
        ("j", 1), ("down", 1), ("j k", 0), ("k", 0), ("G", 99), ("end", 99), ("G g", 0), ("G home", 0),
        ("pagedown", 9), ("ctrl+f", 9), ("ctrl+d", 4), ("ctrl+d ctrl+u", 0), ("ctrl+f ctrl+b", 0),
        ("G pagedown", 99), ("G pageup", 90),
    ],
)  # fmt: skip
async def test_every_key_moves(keys: str, cursor: int) -> None:
    app = Shown(Numbers(100))
    async with app.run_test(size=(80, 10)) as pilot:
        await pilot.press(*keys.split())
        assert app.table.cursor == cursor
        assert app.table.top <= cursor < app.table.top + 9


async def test_sorting_walks_over_the_columns_and_turns_round() -> None:
    app = Shown(Numbers(5))
    async with app.run_test(size=(80, 10)) as pilot:
        await pilot.press("r", "s", "s", "r", "S", "S", "enter")
        assert app.sorts == [(0, False), (1, True), (1, False), (0, False), (3, False)]
        assert "last↑" in app.lines()[0] or "last" in app.lines()[0]
        assert app.chosen == ["0"]


async def test_marks_are_shown_and_stay_with_their_items() -> None:
    app = Shown(Numbers(5))
    async with app.run_test(size=(80, 10)):
        app.table.toggle_mark()
        app.table.toggle_mark()
        assert app.table.marked == {"0", "1"}
        assert app.table.cursor == 2
        app.table.set_rows(Numbers(5, backwards=True))
        assert [line[0] for line in app.lines()[1:6]] == [" ", " ", " ", "▌", "▌"]


@pytest.mark.parametrize(
    ("width", "seen"),
    [(80, "name number grows last"), (45, "name number grows"), (32, "name number grows"), (25, "name number"),
     (12, "name")],
)  # fmt: skip
async def test_columns_of_the_highest_rank_give_way(width: int, seen: str) -> None:
    app = Shown(Numbers(5))
    async with app.run_test(size=(width, 10)):
        assert app.lines()[0].split() == seen.split()
        assert {len(line) for line in app.lines()} == {width}


async def test_columns_can_be_shifted_and_the_first_stays() -> None:
    app = Shown(Numbers(5))
    async with app.run_test(size=(45, 10)) as pilot:
        await pilot.press("l", "l", "l", "l")
        assert app.lines()[0].split() == ["name", "last"]
        await pilot.press("h", "left", "left")
        assert app.lines()[0].split() == ["name", "number", "grows"]


async def test_only_changed_cells_are_refreshed() -> None:
    app = Shown(Numbers(100))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        app.table.set_rows(app.rows)
        await pilot.pause()
        app.table.refreshed.clear()
        app.table.set_rows(app.rows)
        assert app.table.refreshed == []
        app.rows.texts[4] = "changed"
        app.table.set_rows(app.rows)
        assert app.table.refreshed == [Region(1, 5, 11, 1)]


async def test_text_of_others_is_shown_as_text_and_keeps_its_columns() -> None:
    app = Shown(Numbers(4))
    app.rows.texts = {0: "\x1b[31mred", 1: "特特特特特特特", 2: "a\nb\tc", 3: "[bold]x[/]"}
    async with app.run_test(size=(80, 10)):
        first, wide, lines, markup = app.lines()[1:5]
        assert "\\x1b[31mr…" in first
        assert "特特特特" in wide
        assert "…" in wide
        assert "a\\nb\\tc" in lines
        assert "[bold]x[/]" in markup
        assert first.index("0", 15) == markup.index("3", 15) == lines.index("2", 15)


async def test_the_mouse_can_do_it_too() -> None:
    app = Shown(Numbers(50))
    async with app.run_test(size=(80, 10)) as pilot:
        await pilot.click(Watched, offset=(5, 4))
        assert app.table.cursor == 3
        await pilot.click(Watched, offset=(5, 4), times=2)
        await pilot.pause()
        assert app.chosen == ["3"]
        await pilot.click(Watched, offset=(5, 0))
        assert app.table.cursor == 3
