"""The key table: no key means two things in one place, each has its method, keymaps are checked."""

from __future__ import annotations

from collections import Counter

import pytest

from husai_tui.app import SCREENS, HusaiApp
from husai_tui.keys import KEYS, TITLES, VIEWS, Key, clashes, keys_of, shown
from husai_tui.screens.view import View
from husai_tui.widgets.table import Table


def names(key: Key) -> list[str]:
    return [one.strip() for one in key.keys.split(",")]


@pytest.mark.parametrize("place", TITLES)
def test_no_key_means_two_things_in_one_place(place: str) -> None:
    pressed = Counter(name for key in KEYS if key.where == place for name in names(key))
    assert [name for name, number in pressed.items() if number > 1] == []


@pytest.mark.parametrize("view", SCREENS)
def test_no_key_of_a_screen_is_one_of_its_panels_or_of_everywhere(view: str) -> None:
    screen = SCREENS[view]  # type: ignore[index]
    pressed = Counter(name for key in keys_of(screen.NAME, *screen.PARTS) for name in names(key))
    assert [name for name, number in pressed.items() if number > 1] == []
    always = {
        name for key in KEYS if key.where == "everywhere" and key.always for name in names(key)
    }
    assert not always & set(pressed)


def owners(place: str) -> list[type]:
    """Return the classes whose actions a place's keys are."""
    if place == "everywhere":
        return [HusaiApp]
    if place in SCREENS:
        return [SCREENS[place]]  # type: ignore[index]
    if place == "table":
        return [Table]
    return [cls for cls in _every(View) if place in getattr(cls, "PARTS", ())]


def _every(cls: type) -> list[type]:
    return [cls, *(one for below in cls.__subclasses__() for one in _every(below))]


@pytest.mark.parametrize("key", [key for key in KEYS if owners(key.where)], ids=lambda key: key.id)
def test_every_key_has_its_method(key: Key) -> None:
    name = f"action_{key.action.partition('(')[0]}"
    if key.where == "chart":
        pytest.skip("charts are tested with the screens that have some")
    assert any(hasattr(owner, name) for owner in owners(key.where))


@pytest.mark.parametrize("view", SCREENS)
def test_a_screen_that_exists_binds_all_its_keys(view: str) -> None:
    screen = SCREENS[view]  # type: ignore[index]
    bound = {binding.id for binding in screen.BINDINGS}  # type: ignore[union-attr]
    assert bound >= {key.id for key in keys_of(screen.NAME)}


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
