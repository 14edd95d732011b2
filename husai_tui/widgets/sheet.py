"""Lines of text with a cursor and a caret, of which only the cells that change are sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.cells import cell_len, get_character_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.events import Click, Key, Paste
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from engine.disk.text import visible_line
from husai_tui.tones import Line, Tone

GAP = 6
"""Cells that have not changed between two that have, up to which both are sent as one: moving costs as much."""
Cells = list[tuple[str, Style]]


class Sheet(Widget):
    """What a screen says that is no table: a form, a plan, meters."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "sheet--faint",
        "sheet--good",
        "sheet--warn",
        "sheet--bad",
        "sheet--accent",
        "sheet--strong",
        "sheet--rule",
        "sheet--cursor",
        "sheet--cursor-blurred",
        "sheet--caret",
    }
    DEFAULT_CSS = """
    Sheet { height: 1fr; width: 1fr; }
    Sheet > .sheet--faint { color: $faint; }
    Sheet > .sheet--good { color: $success; }
    Sheet > .sheet--warn { color: $warning; }
    Sheet > .sheet--bad { color: $error; text-style: bold; }
    Sheet > .sheet--accent { color: $accent; text-style: bold; }
    Sheet > .sheet--strong { text-style: bold; }
    Sheet > .sheet--rule { color: $rule; }
    Sheet > .sheet--cursor { background: $block-cursor-background; }
    Sheet > .sheet--cursor-blurred { background: $panel; }
    Sheet > .sheet--caret { text-style: reverse; }
    Sheet:ansi > .sheet--cursor { background: transparent; text-style: underline; }
    Sheet:nocolor > .sheet--cursor { text-style: underline; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.lines: Sequence[Line] = ()
        self._painted: dict[int, Cells] = {}

    def tell(self, lines: Sequence[Line]) -> None:
        """Show these lines; what is there already is not sent again."""
        if lines != self.lines:
            self.lines = lines
            self.repaint()

    @property
    def text(self) -> str:
        """What it says, without its colours."""
        return "\n".join("".join(text for text, _ in line.parts).rstrip() for line in self.lines)

    def repaint(self) -> None:
        """Send what has changed."""
        if not self.is_attached or not self.size:
            return
        for y in range(self.size.height):
            before = self._painted.get(y)
            for begin, end in changes(before, self._cells(y), self.size.width):
                self.refresh(Region(begin, y, end - begin, 1))

    def on_resize(self) -> None:
        """Forget what was painted at another size."""
        self._painted.clear()

    def on_focus(self) -> None:
        """Show that keys go here."""
        self.repaint()

    def on_blur(self) -> None:
        """Show that keys go elsewhere."""
        self.repaint()

    def render_line(self, y: int) -> Strip:
        """Return one line."""
        cells = self._cells(y)
        self._painted[y] = cells
        segments: list[Segment] = []
        for text, style in cells:
            if segments and segments[-1].style == style:
                segments[-1] = Segment(segments[-1].text + text, style)
            else:
                segments.append(Segment(text, style))
        return Strip(segments, self.size.width)

    def _cells(self, y: int) -> Cells:
        """Return a line cell by cell; a wide letter is in the first of its two cells."""
        width, plain = self.size.width, self.rich_style
        line = self.lines[y] if y < len(self.lines) else Line()
        ground = plain
        if line.cursor:
            ground += self._component("cursor" if self.has_focus else "cursor-blurred")
        cells: Cells = []
        for text, tone in line.parts:
            style = self._tone(tone, ground)
            for letter in visible_line(text):
                wide = get_character_cell_size(letter)
                if wide == 0 and cells:
                    cells[-1] = (cells[-1][0] + letter, cells[-1][1])
                    continue
                cells += [(letter, style), *([("", style)] * (wide - 1))]
        if len(cells) > width:
            cells = cells[: max(0, width - 1)]
            if cells and cell_len(cells[-1][0]) == 2:
                cells[-1] = (" ", cells[-1][1])
            cells.append(("…", cells[-1][1] if cells else ground))
        cells += [(" ", ground)] * (width - len(cells))
        if 0 <= line.caret < width and self.has_focus:
            letter, style = cells[line.caret]
            cells[line.caret] = (letter, style + self._component("caret"))
        return cells

    def _component(self, name: str) -> Style:
        return self.get_component_rich_style(f"sheet--{name}", partial=True)

    def _tone(self, tone: Tone, ground: Style) -> Style:
        return ground + self._component(tone) if tone else ground


class ActiveSheet(Sheet, can_focus=True):
    """A sheet with a cursor: it takes keys for typing before they mean anything else, and clicks."""

    class Clicked(Message):
        """A line was clicked; `again`: twice."""

        def __init__(self, line: int, again: bool) -> None:
            self.line, self.again = line, again
            super().__init__()

    press: Callable[[str, str | None], bool] | None = None
    """Takes a key; returns whether it was one for typing."""
    paste: Callable[[str], None] | None = None
    """Takes a pasted text."""

    def on_key(self, event: Key) -> None:
        """Let typing have its keys."""
        if self.press is not None and self.press(event.key, event.character):
            event.stop()
            event.prevent_default()

    def on_paste(self, event: Paste) -> None:
        """Put a pasted text into what is being typed."""
        event.stop()
        if self.paste is not None:
            self.paste(event.text)

    def on_click(self, event: Click) -> None:
        """Tell which line was clicked."""
        self.post_message(self.Clicked(event.y, event.chain > 1))


def changes(before: Cells | None, now: Cells, width: int) -> list[tuple[int, int]]:
    """Return the spans of cells that differ, first and one past the last; those close together as one."""
    if before is None or len(before) != len(now):
        return [(0, width)]
    found: list[tuple[int, int]] = []
    for place, (old, new) in enumerate(zip(before, now, strict=True)):
        if old == new:
            continue
        if found and place - found[-1][1] <= GAP:
            found[-1] = (found[-1][0], place + 1)
        else:
            found.append((place, place + 1))
    return found
