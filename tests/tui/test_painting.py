"""What is sent is little, and the terminal shows the same as if all had been sent."""

from __future__ import annotations

import random

from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from husai_tui.painting import Narrowed, Painted, cells_of
from scripts.pseudo_terminal import Screen

CONSOLE = Console(color_system="truecolor", force_terminal=True)
RED, BLUE = Style.parse("red"), Style.parse("bold blue")
LETTERS = "ab 特é█·"


def whole(lines: list[Strip], width: int) -> LayoutUpdate:
    return LayoutUpdate([[line] for line in lines], Region(0, 0, width, len(lines)))


def sent(painted: Painted, update: LayoutUpdate | ChopsUpdate) -> str:
    return Narrowed(update, painted).render_segments(CONSOLE)


def some_line(chance: random.Random, width: int) -> Strip:
    text = "".join(chance.choice(LETTERS) for _ in range(width))
    place = chance.randrange(1, width)
    strip = Strip([Segment(text[:place], chance.choice([RED, BLUE])), Segment(text[place:], RED)])
    return strip.adjust_cell_length(width)


def test_what_stands_there_already_is_not_sent_again() -> None:
    painted, lines = Painted(), [Strip([Segment("one", RED)]), Strip([Segment("two", BLUE)])]
    assert "one" in sent(painted, whole(lines, 3))
    assert sent(painted, whole(lines, 3)) == ""


def test_only_the_changed_cells_are_sent() -> None:
    painted = Painted()
    sent(painted, whole([Strip([Segment("step 1234 of 9999", RED)])], 17))
    told = sent(painted, whole([Strip([Segment("step 1235 of 9999", RED)])], 17))
    assert told == "\x1b[1;9H\x1b[31m5\x1b[0m"


def test_another_look_of_the_same_text_is_sent() -> None:
    painted = Painted()
    sent(painted, whole([Strip([Segment("x", RED)])], 1))
    assert sent(painted, whole([Strip([Segment("x", BLUE)])], 1)) == "\x1b[1;1H\x1b[1;34mx\x1b[0m"


def test_after_forgetting_and_at_another_size_all_is_sent() -> None:
    painted, line = Painted(), Strip([Segment("abc", RED)])
    sent(painted, whole([line], 3))
    painted.forget()
    assert "abc" in sent(painted, whole([line], 3))
    assert "abc" in sent(painted, whole([line, line], 3))


def test_a_part_of_a_line_is_sent_from_where_it_begins() -> None:
    painted = Painted()
    sent(painted, whole([Strip([Segment("abcdef", RED)])], 6))
    chops = [{0: Strip([Segment("aBcdEf", RED)])}]
    assert "\x1b[1;5H" in sent(painted, ChopsUpdate(chops, [(0, 4, 6)], [[6]]))
    assert "\x1b[1;2H" in sent(painted, ChopsUpdate(chops, [(0, 0, 6)], [[6]]))


def test_the_terminal_shows_the_same_as_if_all_had_been_sent() -> None:
    chance, painted, screen = random.Random(1), Painted(), Screen(20, 4)
    for _ in range(300):
        lines = [some_line(chance, 20) for _ in range(4)]
        screen.feed(sent(painted, whole(lines, 20)))
        plain = Screen(20, 4)
        plain.feed(whole(lines, 20).render_segments(CONSOLE))
        assert screen.text == plain.text


def test_a_wide_character_takes_two_cells_and_an_accent_none() -> None:
    assert cells_of([Segment("特a\u0301")]) == [("特", None), ("", None), ("a\u0301", None)]
