"""Text made safe and even before it is shown."""

from __future__ import annotations

import pytest

from engine.disk.text import bare


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0.91", ".91"),
        ("−0.03", "−.03"),
        ("-0.5", "-.5"),
        ("explains 0.1 of (0.25, wanted 0.95)", "explains .1 of (.25, wanted .95)"),
        ("10.5 and 100.25", "10.5 and 100.25"),
        ("blocks.0.hook 1.0.2 x0.5 0.", "blocks.0.hook 1.0.2 x0.5 0."),
        ("0", "0"),
    ],
)
def test_numbers_below_one_lose_their_zero_and_names_do_not(text: str, shown: str) -> None:
    assert bare(text) == shown
