"""A sheet sends the cells that change, and no others."""

from __future__ import annotations

from rich.style import Style
from textual.app import App, ComposeResult
from textual.geometry import Region

from husai_tui.themes import DARK
from husai_tui.tones import Line
from husai_tui.widgets.sheet import ActiveSheet, Sheet, changes

PLAIN, BOLD = Style(), Style(bold=True)


def cells(text: str, style: Style = PLAIN) -> list[tuple[str, Style]]:
    return [(letter, style) for letter in text]


def test_changes_are_spans_and_near_ones_are_one() -> None:
    assert changes(None, cells("abc"), 3) == [(0, 3)]
    assert changes(cells("abc"), cells("abc"), 3) == []
    assert changes(cells("a" * 30), cells("a" * 2 + "b" + "a" * 27), 30) == [(2, 3)]
    assert changes(cells("a" * 30), cells("b" + "a" * 28 + "b"), 30) == [(0, 1), (29, 30)]
    assert changes(cells("a" * 10), cells("b" + "a" * 5 + "b" + "aaa"), 10) == [(0, 7)]
    assert changes(cells("abc"), cells("abc", BOLD), 3) == [(0, 3)]


class Shown(App[None]):
    def get_theme_variable_defaults(self) -> dict[str, str]:
        return {"faint": "#777777", "rule": "#333333"}

    def compose(self) -> ComposeResult:
        yield ActiveSheet(id="active")

    def on_mount(self) -> None:
        self.register_theme(DARK)
        self.theme = DARK.name


class Counting(list[Region]):
    """Takes the place of `refresh` and keeps what was asked of it."""

    def __call__(self, *regions: Region, **options: object) -> None:
        self.extend(regions)


async def test_only_what_changed_is_refreshed() -> None:
    app = Shown()
    async with app.run_test(size=(40, 5)) as pilot:
        sheet = app.query_one(Sheet)
        sheet.tell([Line((("load 1.5 and more", ""),)), Line((("still", "faint"),))])
        await pilot.pause()
        asked = Counting()
        sheet.refresh = asked  # type: ignore[method-assign, assignment]
        sheet.tell([Line((("load 1.6 and more", ""),)), Line((("still", "faint"),))])
        assert list(asked) == [Region(7, 0, 1, 1)]
        assert sheet.text == "load 1.6 and more\nstill"


async def test_long_lines_end_in_dots_and_wide_letters_keep_their_cells() -> None:
    app = Shown()
    async with app.run_test(size=(10, 4)) as pilot:
        sheet = app.query_one(ActiveSheet)
        sheet.focus()
        lines = [
            Line((("0123456789abc", ""),)),
            Line((("日本語日本語", ""),)),
            Line((("e\u0301x\x1b", ""),), caret=1),
        ]
        sheet.tell(lines)
        await pilot.pause()
        strips = [sheet.render_line(y) for y in range(4)]
        assert [strip.text for strip in strips] == [
            "012345678…",
            "日本語日 …",
            "e\u0301x\\x1b    ",
            " " * 10,
        ]
        assert all(strip.cell_length == 10 for strip in strips)
        assert any(segment.style and segment.style.reverse for segment in strips[2])
