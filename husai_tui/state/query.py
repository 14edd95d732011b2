"""What is searched in lines of text: words, or a regular expression."""

from __future__ import annotations

import re

SEARCHED = 2000
"""Characters of a line that are searched: a regular expression may take very long for longer ones."""


class Query:
    """What is searched: words that must all be there, or, after `~`, a regular expression.

    Small letters stand for capitals too; a capital in what is searched stands for itself.
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self.wrong = ""
        """What is wrong with it; empty: nothing."""
        flags = re.NOFLAG if re.search(r"[A-Z]", self.text) else re.IGNORECASE
        words = [self.text[1:]] if self.regular else [re.escape(w) for w in self.text.split()]
        try:
            self._tests = [re.compile(word, flags) for word in words if word]
        except re.error as error:
            self._tests, self.wrong = [], f"no regular expression: {error}"

    @property
    def regular(self) -> bool:
        """Whether it is a regular expression."""
        return self.text.startswith("~")

    def __bool__(self) -> bool:
        return bool(self._tests)

    @property
    def hints(self) -> list[bytes]:
        """What must be in the bytes of a line, in small letters: words as they stand in the file."""
        words = [] if self.regular else self.text.split()
        # Control characters are written out on the screen, and capitals beyond ASCII have several forms.
        return [w.lower().encode() for w in words if w.isascii() and "\\" not in w]

    def matches(self, line: str) -> bool:
        """Return whether a line has it."""
        return bool(self._tests) and all(test.search(line[:SEARCHED]) for test in self._tests)

    def marks(self, line: str) -> list[tuple[int, int]]:
        """Return where in a line it was found, from and to."""
        if not self.matches(line):
            return []
        found = [one.span() for test in self._tests for one in test.finditer(line[:SEARCHED])]
        return sorted(span for span in found if span[0] < span[1])
