"""What fails because a part of the screen is being taken down, which is no fault."""

from __future__ import annotations

from traceback import walk_tb

from textual._context import NoActiveAppError
from textual.css.query import NoMatches
from textual.dom import DOMNode, NoScreen


def comes_too_late(error: BaseException) -> bool:
    """Return whether something failed because a part of the screen that it needs is going.

    What was to be done to that part need not be done any more; Textual runs callbacks of parts that go.
    """
    nodes = (frame.f_locals.get("self") for frame, _ in walk_tb(error.__traceback__))
    return isinstance(error, NoMatches | NoScreen | NoActiveAppError) and any(
        isinstance(node, DOMNode) and (node._closing or node._closed or node._pruning)
        for node in nodes
    )
