"""What a draft begins with, and the command that makes the same draft of it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from engine.errors import HusaiError
from engine.study.spec import parse_yaml, presets
from husai_tui.state.draft import Data, differences
from husai_tui.state.sweep import Form


def read_start(name: str, runs: Path) -> tuple[Data, str]:
    """Return the plain data and the text of a preset, or of a study below a runs root.

    Raises:
        HusaiError: there is none of that name, or it is no YAML.
        OSError: it cannot be read.
    """
    path = presets().get(name)
    if path is None and name and "/" not in name and (runs / name / "study.yaml").is_file():
        path = runs / name / "study.yaml"
    if path is None:
        raise HusaiError(f"{name}: no such preset, and no such study below {runs}")
    text = path.read_text(encoding="utf-8")
    data = parse_yaml(text, str(path))
    if not isinstance(data, dict):
        raise HusaiError(f"{path}: no study")
    return data, text


def reproduce(form: Form, verb: str, start: Data | None, option: str) -> str:
    """Return the command that does the same to the same study.

    Args:
        form: the draft.
        verb: `plan` or `submit`.
        start: data of the study that it began with; None: it is no longer there.
        option: `--runs DIR`, or empty.
    """
    file = form.origin if start is not None else f"{form.name or 'study'}.yaml"
    words = ["husai-engine", verb, file]
    words += ["--profile", form.profile] if form.profile != "auto" else []
    words += ["--priority", str(form.priority)] if form.priority and verb == "submit" else []
    for path, value in differences(start, form.data) if start is not None else []:
        words += ["--set", f"{path}={json.dumps(value)}"]
    return " ".join(shlex.quote(word) for word in words) + option
