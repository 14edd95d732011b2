from __future__ import annotations

from pathlib import Path

import pytest

from engine.disk.root import RunsRoot
from engine.errors import InputError

OWN = ("jobs", "inbox", "database", "backup", "state_file", "log_file")


@pytest.mark.parametrize("what", OWN)
def test_no_study_takes_the_place_of_what_the_root_itself_needs(what: str, tmp_path: Path) -> None:
    root = RunsRoot(tmp_path)
    name = getattr(root, what).name
    with pytest.raises(InputError, match="another name for the study"):
        root.study(name)
    assert root.study(f"my-{name}") == tmp_path / f"my-{name}"
