"""The reference pages are what the code says."""

from __future__ import annotations

import re

import pytest

from engine.study.profile import Profile
from engine.study.spec import Study
from husai_tui.keys import KEYS
from scripts.manual import FOLDER, PAGES
from tests.contract.test_cli import COMMANDS


@pytest.mark.parametrize("name", PAGES)
def test_no_page_has_drifted_from_the_code(name: str) -> None:
    written = (FOLDER / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), "run scripts/manual"


def test_every_page_in_the_folder_is_written_by_the_script() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


def test_nothing_is_left_out() -> None:
    commands = (FOLDER / "commands.md").read_text()
    assert set(re.findall(r"^## (.+)$", commands, re.M)) == COMMANDS
    study = (FOLDER / "study.md").read_text()
    assert all(f"| `{name}` |" in study for name in Study.model_fields)
    profile = (FOLDER / "profiles.md").read_text()
    assert all(f"| `{name}` |" in profile for name in Profile.model_fields)
    keys = (FOLDER / "keys.md").read_text()
    assert all(f"`{key.id}`" in keys for key in KEYS)


def test_every_option_says_what_it_is_for() -> None:
    for line in (FOLDER / "commands.md").read_text().splitlines():
        if line.startswith("| `"):
            assert line.rsplit(" | ", 1)[1].strip(" |"), line


def test_links_lead_to_a_heading_of_the_page() -> None:
    for name in PAGES:
        text = (FOLDER / name).read_text()
        headings = {title.lower() for title in re.findall(r"^## (.+)$", text, re.M)}
        assert set(re.findall(r"\(#([a-z0-9-]+)\)", text)) <= headings
