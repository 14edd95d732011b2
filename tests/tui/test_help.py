"""The page of keys."""

from __future__ import annotations

import pytest

from husai_tui.keys import VIEWS, Where, keys_of
from husai_tui.screens.actions import PAGE, help_text


@pytest.mark.parametrize("view", VIEWS)
def test_every_key_and_its_name_fit_a_page_of_80_columns(view: Where) -> None:
    lines = help_text((view, "table", "chart", "everywhere"), {}).plain.splitlines()
    said = "\n".join(lines)
    for key in keys_of(view, "everywhere"):
        assert key.id in said
        assert key.title in said
    assert max(len(line) for line in lines) <= PAGE
