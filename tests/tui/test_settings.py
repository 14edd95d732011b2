"""What is set and what is remembered: whatever the files hold, the app starts and says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from husai_tui.settings import Memory, Settings, read_memory, read_settings, write_memory


def read(tmp_path: Path, text: str) -> Settings:
    (tmp_path / "config.toml").write_text(text)
    return read_settings(tmp_path)


def test_without_a_file_all_is_as_it_comes(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == Settings()


def test_what_is_set_counts(tmp_path: Path) -> None:
    text = 'theme = "ansi-light"\nrefresh = 2\nmouse = false\n[keymap]\n"runs.cancel" = "ctrl+x"\n'
    found = read(tmp_path, text)
    assert (found.theme, found.refresh, found.mouse) == ("ansi-light", 2, False)
    assert found.keymap == {"runs.cancel": "ctrl+x"}
    assert found.problems == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("theme =", "config.toml"),
        ('theme = "pink"', "theme: 'pink' is none of"),
        ("theme = 3", "theme: 3 is none of"),
        ("refresh = 0.01", "refresh: seconds"),
        ("refresh = true", "refresh: seconds"),
        ("refresh = nan", "refresh: seconds"),
        ('mouse = "no"', "mouse: true or false"),
        ("keymap = 3", "keymap: a table"),
        ("[keymap]\n'runs.cancel' = 3", "keymap: a table"),
        ("colour = 1", "no such setting"),
        ("profile = ''", "profile: the name"),
        ("[keymap]\n'runs.fly' = 'f'", "no such key"),
        ("[keymap]\n'runs.pause' = 'x'", "x is the key of runs.cancel"),
    ],
)
def test_what_is_wrong_is_told_and_left_out(tmp_path: Path, text: str, said: str) -> None:
    found = read(tmp_path, text + "\n")
    assert any(said in line for line in found.problems), found.problems
    plain = Settings()
    assert (found.theme, found.refresh, found.mouse) == (plain.theme, plain.refresh, plain.mouse)
    assert found.keymap == {}


def test_a_good_entry_beside_a_bad_one_counts(tmp_path: Path) -> None:
    found = read(
        tmp_path, "mouse = false\ntheme = 1\n[keymap]\n'runs.fly' = 'f'\n'runs.logs' = 'o'\n"
    )
    assert found.mouse is False
    assert found.keymap == {"runs.logs": "o"}
    assert len(found.problems) == 2


def test_a_file_that_is_no_text_or_far_too_long_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    assert len(read_settings(tmp_path).problems) == 1
    (tmp_path / "config.toml").write_text("#" * 70_000)
    assert "larger" in read_settings(tmp_path).problems[0]
    (tmp_path / "config.toml").unlink()
    (tmp_path / "config.toml").mkdir()
    assert len(read_settings(tmp_path).problems) == 1


def test_what_is_remembered_comes_back_per_runs_root(tmp_path: Path) -> None:
    first = Memory("features", 5.0, {"runs": {"filter": "topk"}})
    write_memory(tmp_path / "a", tmp_path / "one", first)
    write_memory(tmp_path / "a", tmp_path / "two", Memory("logs"))
    assert read_memory(tmp_path / "a", tmp_path / "one") == first
    assert read_memory(tmp_path / "a", tmp_path / "two").view == "logs"
    assert read_memory(tmp_path / "a", tmp_path / "three") == Memory()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", '{"ROOT": 3}', '{"ROOT": {"view": 3, "seen": "x", "views": []}}',
     '{"ROOT": {"views": {"runs": 3}}}'],
)  # fmt: skip
def test_a_damaged_memory_is_forgotten(tmp_path: Path, text: str) -> None:
    root = tmp_path / "runs"
    (tmp_path / "state.json").write_text(text.replace("ROOT", str(root.resolve())))
    assert read_memory(tmp_path, root) == Memory()
    write_memory(tmp_path, root, Memory("logs"))
    assert read_memory(tmp_path, root).view == "logs"


def test_a_folder_that_cannot_be_written_is_no_reason_to_fall(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    write_memory(tmp_path / "file", tmp_path, Memory())
    assert read_memory(tmp_path / "file", tmp_path) == Memory()


def test_what_cannot_be_written_as_json_is_no_reason_to_fall(tmp_path: Path) -> None:
    write_memory(tmp_path, tmp_path, Memory(views={"runs": {"filter": object()}}))
    assert read_memory(tmp_path, tmp_path) == Memory()


def test_the_roots_that_were_left_longest_ago_are_forgotten(tmp_path: Path) -> None:
    for number in range(40):
        write_memory(tmp_path, tmp_path / str(number), Memory("logs"))
    kept = json.loads((tmp_path / "state.json").read_text())
    assert len(kept) == 32
    assert str((tmp_path / "39").resolve()) in kept
    assert list(tmp_path.glob(".state.*")) == []
