"""Questions: yes or no, a word to type, a line of text, a choice; and pages of text to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import ClassVar, TypeVar

from rich.text import Text
from textual._widget_navigation import Direction
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import Input, Label, OptionList
from textual.widgets.option_list import Option

from engine.disk.text import visible

Answer = TypeVar("Answer")


class Dialog(ModalScreen[Answer]):
    """A screen over the others that is left once, though two keys that leave it come together."""

    _over = False

    def dismiss(self, result: Answer | None = None) -> AwaitComplete:
        """Leave, with an answer."""
        if self._over:
            return AwaitComplete()
        self._over = True
        return super().dismiss(result)


class Confirm(Dialog[bool]):
    """Asks before something is lost; where much is at stake, a word must be typed."""

    BINDINGS: ClassVar[list[Binding]] = [  # type: ignore[assignment]
        Binding("y", "answer(True)", "yes", show=False),
        Binding("n,escape,q,ctrl+c", "answer(False)", "no", show=False),
    ]

    def __init__(self, question: str, word: str = "") -> None:
        super().__init__()
        self._question, self._word = question, word

    def compose(self) -> ComposeResult:
        """Return the question."""
        with Vertical(classes="dialog"):
            yield Label(Text(visible(self._question)))
            if self._word:
                yield Input(placeholder=f"type {self._word} to do it, esc to leave it")
            else:
                yield Label(Text.assemble(("y", "bold"), " yes   ", ("n", "bold"), " no"))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the word, if it is the right one."""
        event.stop()
        if event.value.strip() == self._word:
            self.dismiss(True)
        else:
            event.input.value = ""

    def action_answer(self, answer: bool) -> None:
        """Answer; a word that must be typed cannot be answered by a key."""
        if not (answer and self._word):
            self.dismiss(answer)


class Ask(Dialog[str | None]):
    """Asks for a line of text at the bottom of the screen, and tells of it while it is typed."""

    BINDINGS: ClassVar[list[Binding]] = [  # type: ignore[assignment]
        Binding("escape,ctrl+c", "leave", "leave", show=False)
    ]

    def __init__(
        self, title: str, value: str = "", told: Callable[[str], str] | None = None
    ) -> None:
        super().__init__()
        self._title, self._value, self._told = title, value, told

    def compose(self) -> ComposeResult:
        """Return the line."""
        with Vertical(classes="ask"):
            yield Label("", id="wrong")
            yield Input(self._value, placeholder=self._title, select_on_focus=False)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Tell what was typed so far, and show what is wrong with it."""
        if self._told:
            self.query_one("#wrong", Label).update(Text(visible(self._told(event.value))))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Return what was typed, unless it is known to be wrong."""
        event.stop()
        if not (self._told and self._told(event.value)):
            self.dismiss(event.value)

    def action_leave(self) -> None:
        """Return nothing."""
        self.dismiss(None)


class Choices(OptionList):
    """Textual's list, which falls when a page is turned before it has lines."""

    def _move_page(self, direction: Direction) -> None:
        with suppress(KeyError, IndexError):
            super()._move_page(direction)


class Choose(Dialog[str | None]):
    """Asks for one of a few things; each has a letter."""

    BINDINGS: ClassVar[list[Binding]] = [  # type: ignore[assignment]
        Binding("escape,q,ctrl+c", "leave", "leave", show=False),
        Binding("j", "go('down')", "down", show=False),
        Binding("k", "go('up')", "up", show=False),
    ]

    def __init__(self, title: str, choices: Sequence[tuple[str, str, str]]) -> None:
        """Ask for one of (letter, name, what it does)."""
        super().__init__()
        self._title, self._choices = title, choices

    def compose(self) -> ComposeResult:
        """Return the choices."""
        with Vertical(classes="dialog"):
            yield Label(Text(self._title, style="bold"))
            yield Choices(
                *(
                    Option(Text.assemble((f"{letter}  ", "bold"), visible(text)), id=name)
                    for letter, name, text in self._choices
                )
            )

    def on_key(self, event: Key) -> None:
        """Take a letter; it is for this question alone, not for the screen below."""
        for letter, name, _ in self._choices:
            if event.character == letter:
                event.stop()
                event.prevent_default()
                self.dismiss(name)
                return

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Take the choice under the cursor."""
        self.dismiss(event.option.id)

    def action_go(self, way: str) -> None:
        """Go down or up."""
        options = self.query_one(OptionList)
        options.action_cursor_down() if way == "down" else options.action_cursor_up()

    def action_leave(self) -> None:
        """Choose nothing."""
        self.dismiss(None)


AROUND_PAGE = 6
"""Lines of a page that are not its text: the margins, the title, the hint, and an empty one beside each."""


class Reading(Dialog[None]):
    """A page of text between its title and how to leave it."""

    BINDINGS: ClassVar[list[Binding]] = [  # type: ignore[assignment]
        Binding("escape,q,enter,question_mark,ctrl+c", "leave", "leave", show=False),
        Binding("j,down", "go(1)", "down", show=False),
        Binding("k,up", "go(-1)", "up", show=False),
        Binding("ctrl+d,pagedown,space", "go(10)", "further down", show=False),
        Binding("ctrl+u,pageup", "go(-10)", "further up", show=False),
    ]

    def __init__(self, title: str, text: Text) -> None:
        super().__init__()
        self._title, self._text = title, text

    def compose(self) -> ComposeResult:
        """Return the page."""
        with Vertical(classes="page"):
            yield Label(Text(self._title), id="title")
            with VerticalScroll():
                yield Label(self._text)
            yield Label("esc leaves   j k scroll", classes="faint", id="hint")

    def on_resize(self) -> None:
        """Leave room for the title and the hint, however long the text is."""
        room = max(1, self.size.height - AROUND_PAGE)
        self.query_one(VerticalScroll).styles.max_height = room

    def action_go(self, lines: int) -> None:
        """Scroll."""
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_leave(self) -> None:
        """Leave."""
        self.dismiss(None)
