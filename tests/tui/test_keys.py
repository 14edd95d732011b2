"""The key table: no key means two things in one place, each has its method, keymaps are checked."""

from __future__ import annotations

from collections import Counter

import pytest
from textual.widget import Widget

from husai_tui.app import SCREENS, HusaiApp
from husai_tui.keys import KEYS, TITLES, VIEWS, Key, clashes, keys_of, shown

WITHOUT_TABLE = {"features.card_1", "features.card_-1"}
"""Keys of a screen's state in which its table is not there."""


def names(key: Key) -> list[str]:
    return [one.strip() for one in key.keys.split(",")]


@pytest.mark.parametrize("place", TITLES)
def test_no_key_means_two_things_in_one_place(place: str) -> None:
    pressed = Counter(name for key in KEYS if key.where == place for name in names(key))
    assert [name for name, number in pressed.items() if number > 1] == []


@pytest.mark.parametrize("view", SCREENS)
def test_no_key_of_a_screen_is_one_of_its_panels_or_of_everywhere(view: str) -> None:
    screen = SCREENS[view]  # type: ignore[index]
    pressed = Counter(
        name
        for key in keys_of(screen.NAME, *screen.PARTS)
        for name in names(key)
        if key.id not in WITHOUT_TABLE
    )
    assert [name for name, number in pressed.items() if number > 1] == []
    always = {
        name for key in KEYS if key.where == "everywhere" and key.always for name in names(key)
    }
    assert not always & set(pressed)


def binders() -> dict[str, list[type]]:
    """Return for every key the classes that bind it: a panel may share the keys of its screen."""
    found: dict[str, list[type]] = {}
    for cls in [HusaiApp, *_every(Widget)]:
        for binding in vars(cls).get("BINDINGS", ()):
            if getattr(binding, "id", None):
                found.setdefault(binding.id, []).append(cls)
    return found


def _every(cls: type) -> list[type]:
    return [cls, *(one for below in cls.__subclasses__() for one in _every(below))]


BINDERS = binders()


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.id)
def test_every_key_has_its_method(key: Key) -> None:
    name = f"action_{key.action.partition('(')[0]}"
    assert BINDERS[key.id]
    assert any(hasattr(cls, name) for cls in BINDERS[key.id])


def test_names_are_unique_and_titles_begin_with_a_verb() -> None:
    assert max(Counter(key.id for key in KEYS).values()) == 1
    assert all(key.title[:1].islower() for key in KEYS)
    assert all(len(key.short.split()) <= 1 for key in KEYS)
    assert all(view in TITLES for view in VIEWS)


@pytest.mark.parametrize("view", VIEWS)
def test_a_footer_names_five_keys_at_most(view: str) -> None:
    assert len([key for key in keys_of(view) if key.short]) <= 5


def test_an_unknown_name_in_a_keymap_is_told() -> None:
    assert clashes({"runs.fly": "f"}) == ["keymap: runs.fly: no such key; `?` shows them"]


def test_a_key_that_is_taken_is_told_in_the_same_place_and_everywhere() -> None:
    assert clashes({"runs.cancel": "p"}) == ["keymap: runs.cancel: p is the key of runs.pause"]
    assert clashes({"runs.pause": "x"}) == ["keymap: runs.pause: x is the key of runs.cancel"]
    assert clashes({"runs.cancel": "j"}) == ["keymap: runs.cancel: j is the key of table.move_1"]
    assert clashes({"runs.cancel": " , "}) == ["keymap: runs.cancel: no key is given"]
    assert any("runs.cancel" in line for line in clashes({"runs.cancel": "question_mark"}))


def test_a_key_that_is_free_is_no_clash() -> None:
    assert clashes({"runs.cancel": "ctrl+x"}) == []
    assert clashes({"runs.cancel": "p", "runs.pause": "x"}) == []


def test_keys_are_written_as_people_do() -> None:
    assert [shown(key) for key in ("ctrl+p", "question_mark", "space", "J", "left")] == [
        "^p",
        "?",
        "␣",
        "J",
        "←",
    ]
