"""The clipboard of the terminal that somebody sits at, by OSC 52: through SSH, tmux and screen."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping

LARGEST = 74_994
"""Bytes of text: 100,000 of base64 with its frame, the most that common terminals take."""
SCREEN_PIECE = 768
"""Bytes that GNU screen passes through at once."""


def copy_sequence(text: str, environment: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Return what to send to the terminal so that it copies a text, and what is in the way (then nothing)."""
    data = text.encode("utf-8", "replace")
    if len(data) > LARGEST:
        return "", f"{len(data) >> 10} KB are more than terminals take; E writes a file"
    osc = f"\x1b]52;c;{base64.b64encode(data).decode()}\x07"
    if environment.get("TMUX"):
        # tmux passes on what is inside its own frame, with every escape doubled.
        return f"\x1bPtmux;{osc.replace(chr(27), chr(27) * 2)}\x1b\\", ""
    if environment.get("TERM", "").startswith("screen"):
        pieces = [osc[i : i + SCREEN_PIECE] for i in range(0, len(osc), SCREEN_PIECE)]
        return "".join(f"\x1bP{piece}\x1b\\" for piece in pieces), ""
    return osc, ""
