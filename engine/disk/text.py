"""Text that is safe to show: what a log or a name holds never steers the terminal."""

from __future__ import annotations

import re

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
"""Control characters but tab and newline, marks that turn the direction of writing, and lone surrogates."""

_ZERO = re.compile(r"(?<![\w.,])0\.(?=\d)")
"""The zero of `0.91`; not of `10.5`, `blocks.0.5`, `1,0.2`."""


def visible(text: str) -> str:
    """Return text with every control character written out, as `\\x1b`."""
    return _UNSAFE.sub(_escape, text.replace("\r\n", "\n"))


def visible_line(text: str) -> str:
    """Return text as one line: line ends and tabs are written out, too."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def bare(text: str) -> str:
    """Return text whose numbers below one have no zero before the point: `.91`, `−.03`.

    That is how every measured number without a unit is shown; settings stand as they were written, and before
    a unit the zero stays (`0.5 s`).
    """
    return _ZERO.sub(".", text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
