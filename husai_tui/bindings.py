"""The key table as Textual wants it."""

from __future__ import annotations

from textual.binding import Binding

from husai_tui.keys import Where, keys_of


def bindings(*where: Where) -> list[Binding]:
    """Return the bindings of some places; each has its id, so that the user's keymap can change its keys."""
    return [
        Binding(key.keys, key.action, key.title, show=False, id=key.id, priority=key.always)
        for key in keys_of(*where)
    ]
