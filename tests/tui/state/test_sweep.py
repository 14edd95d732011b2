"""The form: typing, turning, stepping, undo, YAML, and what it looks like as lines."""

from __future__ import annotations

import copy

import pytest

from engine.errors import HusaiError, InputError
from engine.study.spec import presets, read_yaml
from husai_tui.state.entry import Entry
from husai_tui.state.form import FormLines, short_hook
from husai_tui.state.start import read_start, reproduce
from husai_tui.state.sweep import Form
from husai_tui.tones import Line


def form_of(name: str = "topk-vs-relu") -> Form:
    return Form(data=read_yaml(presets()[name]), origin=name, profiles=("auto", "cpu", "cuda"))


def type_into(form: Form, name: str, text: str) -> None:
    form.cursor = name
    form.begin()
    assert form.entry is not None
    form.press("ctrl+u", None)
    for letter in text:
        form.press(letter, letter)


def text_of(line: Line) -> str:
    return "".join(text for text, _ in line.parts)


def lines_of(form: Form, width: int = 80, height: int = 40) -> list[str]:
    return [text_of(line) for line in FormLines().lines(form, width, height)]


def test_what_is_typed_holds_at_once_and_escape_brings_back_what_was_there() -> None:
    form = form_of()
    type_into(form, "epochs", "3")
    assert form.data["training"]["epochs"] == 3
    form.press("escape", None)
    assert (form.data["training"]["epochs"], form.entry, form.undo()) == (20, None, False)


def test_enter_keeps_it_and_undo_takes_it_back() -> None:
    form = form_of()
    before = copy.deepcopy(form.data)
    type_into(form, "k", "8, 16")
    form.press("enter", "\r")
    assert form.data["search"]["over"] == {"saes.0.k": [8, 16]}
    assert (form.undo(), form.data == before, form.undo()) == (True, True, False)


def test_down_keeps_it_and_goes_on() -> None:
    form = form_of()
    type_into(form, "epochs", "4")
    form.press("down", None)
    assert (form.entry, form.cursor, form.data["training"]["epochs"]) == (None, "batch", 4)


def test_each_fault_stands_beside_its_field_in_the_engines_words() -> None:
    form = form_of()
    type_into(form, "modulus", "112")
    type_into(form, "epochs", "x")
    form.commit()
    said = {one.name: form.fault_of(one) for one in form.fields}
    assert str(said["modulus"]) == "subject.modulus: 112 is not prime: a prime, such as 109 or 113"
    assert str(said["epochs"]) == "training.epochs: got 'x': a whole number"
    assert sum(fault is not None for fault in said.values()) == 2
    assert not form.sound
    form.cursor = "name"
    form.go_to_fault()
    assert form.cursor == "modulus"


def test_a_fault_that_only_the_plan_finds_is_told_there_too() -> None:
    form = form_of()
    form.plan_fault = InputError("smoke: search.over.saes.*.k", "999 is refused", "at most 64")
    assert "✗ 999 is refused; at most 64" in "\n".join(lines_of(form))
    type_into(form, "k", "3")
    assert form.plan_fault is None, "it was about another version"


def test_space_turns_options_and_switches() -> None:
    form = form_of()
    form.cursor = "architecture"
    form.step(1)
    form.flip()
    assert [sae["architecture"] for sae in form.data["saes"]] == ["topk"]
    form.flip()
    assert form.data["saes"][1] == {"architecture": "relu", "d_sae": 1024, "l1": 1e-3}
    form.cursor = "null"
    form.flip()
    assert form.data["analysis"]["surrogate"] is False
    form.cursor = "hooks"
    form.step(1)
    form.flip()
    assert form.data["hooks"] == ["blocks.0.hook_resid_post", "blocks.0.hook_resid_mid"]
    form.cursor = "vary"
    form.step(1)
    form.flip()
    assert form.data["vary"] == ["init", "order"]


def test_arrows_step_through_choices_both_ways() -> None:
    form = form_of()
    form.cursor = "task"
    form.step(-1)
    assert form.data["subject"]["task"] == "multiply"
    form.step(1)
    assert form.data["subject"]["task"] == "add"
    form.cursor = "profile"
    form.step(1)
    assert form.profile == "cpu"
    form.cursor = "kind"
    form.step(1)
    assert form.data["subject"] == {"kind": "planted"}
    assert form.sound, "another subject brings what it needs"
    form.step(1)
    assert form.data["subject"] == {"kind": "external"}
    assert form.data["hooks"] == ["activations"]
    assert [fault.where for fault in form.faults] == ["subject.path"], "but for the file"
    form.step(1)
    assert form.data["subject"] == {"kind": "modular", "modulus": 113, "task": "add"}


def test_priority_is_a_whole_number() -> None:
    form = form_of()
    type_into(form, "priority", "2")
    form.commit()
    assert (form.priority, form.sound) == (2, True)
    type_into(form, "priority", "1, 2")
    assert not form.sound
    assert any("a whole number" in line for line in lines_of(form))


def test_yaml_is_kept_as_it_was_written_until_the_form_changes_something() -> None:
    form = form_of()
    text = "# why\n" + presets()["topk-vs-relu"].read_text()
    assert form.take(text) == ""
    assert form.yaml == text
    form.cursor = "task"
    form.step(1)
    assert "# why" not in form.yaml
    assert "task: subtract" in form.yaml
    form.undo()
    assert form.yaml == text


@pytest.mark.parametrize("text", ["name: [", "- a\n- b\n", "a: 1\na: 2\n", "x: *y\n"])
def test_yaml_that_cannot_be_read_is_kept_and_nothing_else_is_lost(text: str) -> None:
    form = form_of()
    before = copy.deepcopy(form.data)
    wrong = form.take(text)
    assert wrong
    assert (form.broken, form.data, form.sound) == (text, before, False)
    assert "cannot be read" in lines_of(form)[0]
    assert form.take("name: fine\n") == ""
    assert (form.broken, form.data) == ("", {"name": "fine"})


def test_an_emptied_text_changes_nothing() -> None:
    form = form_of()
    assert "empty" in form.take(" \n")
    assert (form.broken, form.sound, form.edited) == ("", True, False)


def test_a_fault_names_its_line_in_the_yaml() -> None:
    assert form_of().take("name: x\nseeds: [1\nhooks: 3\n").startswith("line 3")


def test_a_draft_comes_back() -> None:
    form = form_of()
    type_into(form, "k", "8")
    form.commit()
    form.take("seeds: [")
    kept = form.remember()
    back = Form()
    back.recall(kept)
    assert (back.data, back.origin, back.cursor) == (form.data, "topk-vs-relu", "k")
    assert (back.edited, back.broken) == (True, "seeds: [")
    for odd in ({}, {"yaml": 3}, {"yaml": "["}, {"yaml": "3", "start": "3"}):
        fresh = Form()
        fresh.recall(odd)
        assert fresh.sound


def test_the_command_makes_the_same_study() -> None:
    form = form_of()
    type_into(form, "k", "8, 16")
    form.commit()
    form.profile = "cpu"
    start = read_yaml(presets()["topk-vs-relu"])
    assert reproduce(form, "plan", start, " --runs r") == (
        "husai-engine plan topk-vs-relu --profile cpu --set saes.0.k=8 --set "
        '\'search={"kind": "grid", "over": {"saes.0.k": [8, 16]}}\' --runs r'
    )
    assert reproduce(form, "plan", None, "") == "husai-engine plan topk-vs-relu.yaml --profile cpu"


def test_a_start_that_is_not_there_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    for name in ("", "nothing", "../x"):
        with pytest.raises(HusaiError, match="no such preset"):
            read_start(name, tmp_path)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "study.yaml").write_text("- 1\n")
    with pytest.raises(HusaiError, match="no study"):
        read_start("odd", tmp_path)


@pytest.mark.parametrize(("width", "height"), [(80, 17), (60, 6), (200, 58), (20, 3)])
def test_the_line_under_the_cursor_is_always_in_sight(width: int, height: int) -> None:
    form, lines = form_of("roadmap-matrix"), FormLines()
    for _ in range(40):
        found = lines.lines(form, width, height)
        assert len(found) <= height
        assert sum(line.cursor for line in found) == 1
        assert set(lines.places.values()) >= {form.cursor}
        form.move(1)
    assert form.cursor == "priority"


def test_the_form_reads_as_it_should() -> None:
    form = form_of("width-sweep")
    found = lines_of(form)
    assert " from width-sweep" in found[0]
    assert (
        " SAEs     architecture ● topk  ○ relu  ○ batch_topk  ○ matryoshka  ○ jumprelu  …" in found
    )
    assert "          width        32, 64, 128, 256, 512, 1024  6 values" in found
    assert "          layers       1  the default" in found
    form.cursor = "architecture"
    form.step(5)
    assert any(
        line.endswith("… ○ batch_topk  ○ matryoshka  ○ jumprelu  ○ gated  ")
        for line in lines_of(form)
    )


def test_control_characters_are_made_visible() -> None:
    form = Form(data={"name": "a\x1b[31m", "description": "b\x07"})
    assert not any("\x1b" in line or "\x07" in line for line in lines_of(form))


def test_hooks_are_short_where_they_can_be() -> None:
    assert short_hook("blocks.1.hook_resid_post") == "1.resid_post"
    assert short_hook("blocks.0.mlp.hook_post") == "0.mlp.post"
    assert short_hook("planted") == "planted"


@pytest.mark.parametrize(
    ("keys", "text", "at"),
    [
        (["a", "b", "left", "c"], "acb", 2),
        (["a", "b", "home", "delete"], "b", 0),
        (["a", "b", "backspace", "backspace", "backspace"], "", 0),
        (["a", ",", "b", "ctrl+w"], "a,", 2),
        (["a", "b", "left", "ctrl+k"], "a", 1),
        (["a", "b", "left", "ctrl+u"], "b", 0),
        (["a", "ctrl+a", "b", "ctrl+e", "c", "right"], "bac", 3),
    ],
)
def test_a_line_is_typed_as_in_a_shell(keys: list[str], text: str, at: int) -> None:
    entry = Entry()
    for key in keys:
        assert entry.press(key, key if len(key) == 1 else None)
    assert (entry.text, entry.at) == (text, at)
    assert not entry.press("f5", None)
    entry.insert("x\ny")
    assert "x y" in entry.text
