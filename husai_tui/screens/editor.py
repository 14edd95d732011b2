"""The user's own editor: the app steps aside, and takes back what was written."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.text import Text

from engine.disk.text import visible
from engine.errors import EnvironmentUnfit, InputError

USUAL = ("nano", "vim", "vi")
LARGEST = 1 << 20


def editor_words(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the command of the user's editor: `$VISUAL`, `$EDITOR`, or one that is installed."""
    given = environment.get("VISUAL") or environment.get("EDITOR") or ""
    try:
        words = shlex.split(given)
    except ValueError:
        words = [given]
    if words:
        return words
    found = next((name for name in USUAL if shutil.which(name)), "")
    if not found:
        raise EnvironmentUnfit("no editor: set EDITOR to the command of yours")
    return [found]


def hand_over(app: Any, path: Path) -> None:
    """Let the user edit a file in the terminal; the app is away meanwhile, and its threads wait."""
    words = editor_words()
    with app.suspend():
        try:
            subprocess.run([*words, str(path)], check=False)
        except OSError as error:
            raise EnvironmentUnfit(f"EDITOR {words[0]}: {error.strerror}") from None


def write_aside(text: str, folder: Path) -> Path:
    """Write a text to a new file that its owner alone may read, and return its path."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(prefix="study-", suffix=".yaml", dir=folder)
    with open(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return Path(name)


def read_back(path: Path) -> str:
    """Return what was written; raise InputError if it is no text, and leave the file then."""
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(str(path), "larger than 1 MB", "a study; the file is kept there")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(str(path), "not UTF-8 text", "a study; the file is kept there") from None


def yaml_text(text: str) -> Text:
    """Return YAML with its keys set off."""
    shown = Text(visible(text))
    shown.highlight_regex(r"(?m)^\s*(- )?[\w.*]+:(?= |$)", "bold")
    shown.highlight_regex(r"(?m)(?<=\s)#.*$|^#.*$", "dim")
    return shown
