"""One line of text that is being typed."""

from __future__ import annotations

from dataclasses import dataclass

WORD_ENDS = " ,.-_/"


@dataclass
class Entry:
    """The text, and the place in it where the next letter goes."""

    text: str = ""
    at: int = 0

    def press(self, key: str, character: str | None) -> bool:
        """Take a key; return whether it was one for typing."""
        if character is not None and character.isprintable() and len(character) == 1:
            self.insert(character)
            return True
        moves = {"left": -1, "right": 1, "ctrl+b": -1, "ctrl+f": 1}
        if key in moves:
            self.at = min(max(0, self.at + moves[key]), len(self.text))
        elif key in ("home", "ctrl+a"):
            self.at = 0
        elif key in ("end", "ctrl+e"):
            self.at = len(self.text)
        elif key in ("backspace", "ctrl+h"):
            self._cut(max(0, self.at - 1), self.at)
        elif key in ("delete", "ctrl+d"):
            self._cut(self.at, self.at + 1)
        elif key == "ctrl+u":
            self._cut(0, self.at)
        elif key == "ctrl+k":
            self._cut(self.at, len(self.text))
        elif key == "ctrl+w":
            self._cut(self._word(), self.at)
        else:
            return False
        return True

    def insert(self, text: str) -> None:
        """Put text in; line ends, as pasted text has them, become blanks."""
        text = " ".join(text.splitlines())
        self.text = self.text[: self.at] + text + self.text[self.at :]
        self.at += len(text)

    def _cut(self, begin: int, end: int) -> None:
        self.text = self.text[:begin] + self.text[end:]
        self.at = begin

    def _word(self) -> int:
        begin = self.at
        while begin and self.text[begin - 1] in WORD_ENDS:
            begin -= 1
        while begin and self.text[begin - 1] not in WORD_ENDS:
            begin -= 1
        return begin
