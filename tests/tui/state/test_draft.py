"""A study as plain data: what a form shows of it, and what an edit makes of it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from engine.study.spec import apply_override, check_study, find_faults, presets, read_yaml
from engine.study.titles import count_saes
from husai_tui.state.draft import (
    FRESH,
    Data,
    assign,
    differences,
    field_at,
    fields_of,
    put,
    set_architecture,
    set_subject,
    values_of,
)
from husai_tui.state.fields import Field, Shown, parse


def field(data: Data, name: str) -> Field:
    return next(one for one in fields_of(data) if one.name == name)


def names(data: Data) -> list[str]:
    return [one.name for one in fields_of(data)]


def preset(name: str) -> Any:
    return read_yaml(presets()[name])


def enter(data: Data, name: str, text: str) -> None:
    one = field(data, name)
    assign(data, one, parse(one, text))


def test_every_preset_is_shown_whole_and_a_new_study_is_sound() -> None:
    assert find_faults(FRESH) == []
    for name in presets():
        data = preset(name)
        shown = {one.name: values_of(data, one) for one in fields_of(data)}
        assert shown["name"].values == (name,)
        assert shown["width"].values, name
        assert len(shown["seeds"].values) >= 3


def test_one_value_is_set_and_several_are_searched() -> None:
    data = preset("topk-vs-relu")
    enter(data, "width", "64, 128")
    assert data["search"] == {"kind": "grid", "over": {"saes.*.d_sae": [64, 128]}}
    assert [sae["d_sae"] for sae in data["saes"]] == [128, 128], "k fits to the largest"
    assert count_saes(check_study(data, "")) == 2 * 2 * 5
    enter(data, "width", "256")
    assert "search" not in data
    assert [sae["d_sae"] for sae in data["saes"]] == [256, 256]


def test_what_only_some_architectures_have_is_searched_in_their_entries() -> None:
    data = preset("roadmap-matrix")
    enter(data, "width", "64")
    enter(data, "k", "8, 16")
    assert data["search"]["over"] == {"saes.0.k": [8, 16], "saes.2.k": [8, 16]}
    assert values_of(data, field(data, "k")).values == (8, 16)
    # Two of topk, two of batch_topk, one of relu, three seeds each: what points share is counted once.
    assert count_saes(check_study(data, "")) == 15


def test_an_emptied_field_has_its_default_again() -> None:
    data = preset("topk-vs-relu")
    enter(data, "epochs", "")
    assert "epochs" not in data["training"]
    assert values_of(data, field(data, "epochs")) == Shown((20,), usual=True)


def test_entries_that_differ_are_told_and_a_range_is_left_alone() -> None:
    data = copy.deepcopy(FRESH)
    data["saes"].append({"architecture": "relu", "d_sae": 64, "l1": 0.1})
    shown = values_of(data, field(data, "width"))
    assert (shown.mixed, shown.text) == (True, "512 | 64")
    data["search"] = {"kind": "random", "samples": 3, "over": {"training.lr": {"uniform": [1, 2]}}}
    assert values_of(data, field(data, "lr")).drawn
    assert "search" in names(data), "what the form cannot show has a line that says so"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1-4", [1, 2, 3, 4]),
        ("7, 9..11,", [7, 9, 10, 11]),
        ("4-1", ["4-1"]),
        ("", []),
        ("1-999999999", ["1-999999999"]),
    ],
)
def test_seeds_may_be_runs_of_numbers(text: str, values: list[Any]) -> None:
    assert parse(field(FRESH, "seeds"), text) == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1e-3, 3e-4", [1e-3, 3e-4]),
        ("64,, 128", [64, 128]),
        ("12x", ["12x"]),
        ("[1", ["[1"]),
        ("2020-01-01", ["2020-01-01"]),
        ("null", ["null"]),
        (".nan", None),
    ],
)
def test_what_is_no_number_stays_text_for_the_engine_to_refuse(text: str, values: Any) -> None:
    found = parse(field(FRESH, "lr"), text)
    assert found == values or values is None
    data = copy.deepcopy(FRESH)
    assign(data, field(data, "lr"), found)
    assert bool(find_faults(data)) == (text not in ("1e-3, 3e-4", "64,, 128"))


def test_an_architecture_goes_and_comes_back_with_its_settings() -> None:
    data = preset("dead-latents")
    before = copy.deepcopy(data)
    gone = set_architecture(data, "topk", False, [])
    assert [sae["architecture"] for sae in data["saes"]] == ["relu"] * 3
    assert "k" not in names(data)
    set_architecture(data, "topk", True, gone)
    assert data["saes"] == before["saes"][2:] + before["saes"][:2]
    set_architecture(data, "jumprelu", True, [])
    assert data["saes"][-1] == {"architecture": "jumprelu", "d_sae": 512, "target_l0": 16}
    assert find_faults(data) == []


def test_a_search_follows_the_entries_that_it_names() -> None:
    data = preset("topk-vs-relu")
    enter(data, "k", "8, 16")
    enter(data, "l1", "0.1, 0.2")
    data["search"]["over"]["saes.0.dead.coefficient"] = [0.1, 0.2]
    set_architecture(data, "topk", False, [])
    assert data["search"]["over"] == {"saes.*.l1": [0.1, 0.2]}
    set_architecture(data, "batch_topk", True, [])
    assert data["search"]["over"] == {"saes.0.l1": [0.1, 0.2]}


def test_another_subject_brings_its_hook_and_the_old_one_comes_back() -> None:
    data = preset("layer-sweep")
    data["search"] = {"kind": "grid", "over": {"subject.modulus": [53, 59]}}
    gone = set_subject(data, "planted", None)
    assert (data["hooks"], "search" in data, "modulus" in names(data)) == (
        ["planted"],
        False,
        False,
    )
    assert find_faults(data) == []
    set_subject(data, "modular", gone)
    assert len(data["hooks"]) == 4


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("saes.1.k", "k"),
        ("study: search.over.saes.*.d_sae", "width"),
        ("saes", "architecture"),
        ("saes.0.architecture", "architecture"),
        ("subject.transformer.layers", "layers"),
        ("training.epochs", "epochs"),
        ("hooks", "hooks"),
        ("training.betas", None),
        ("nonsense", None),
    ],
)
def test_a_fault_is_told_beside_its_field(where: str, name: str | None) -> None:
    found = field_at(fields_of(preset("topk-vs-relu")), where)
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"saes": "abc"},
        {"saes": [1, {"architecture": ["x"]}, {"architecture": "topk"}]},
        {"subject": 3, "hooks": {"a": 1}, "training": [1]},
        {"search": []},
        {"search": {"over": 5}},
        {"search": {"kind": "random", "over": {1: 2, "saes.*.k": {}}}},
        {1: 2, "seeds": None, "analysis": "x", "vary": 7},
    ],
)
def test_a_form_survives_any_data(odd: Any) -> None:
    data = copy.deepcopy(odd)
    assert find_faults(data)
    for one in fields_of(data):
        _ = values_of(data, one).text
    for name in ("epochs", "width", "seeds", "lr", "modulus"):
        if name in names(data):
            enter(data, name, "3, 4")
    set_architecture(data, "topk", True, [])


def test_keys_are_set_below_whatever_stands_there() -> None:
    data: Data = {"training": 7}
    put(data, "training.lr", 1)
    assert data == {"training": {"lr": 1}}
    put(data, "training.lr", None)
    assert data == {"training": {}}


def test_the_differences_make_the_same_study_on_the_command_line() -> None:
    import json

    before = preset("topk-vs-relu")
    now = copy.deepcopy(before)
    enter(now, "k", "8, 16")
    enter(now, "epochs", "3")
    now["analysis"] = {"surrogate": False}
    made = copy.deepcopy(before)
    for path, value in differences(before, now):
        apply_override(made, f"{path}={json.dumps(value)}")
    assert check_study(made, "") == check_study(now, "")
    assert differences(before, before) == []


def test_a_study_of_files_has_their_path_and_keeps_the_name_of_its_hook() -> None:
    data = copy.deepcopy(FRESH)
    set_subject(data, "external", None)
    assert (data["subject"], data["hooks"]) == ({"kind": "external"}, ["activations"])
    assert [fault.where for fault in find_faults(data)] == ["subject.path"]
    assert names(data)[3:7] == ["path", "tensor", "rows", "hooks"]
    enter(data, "path", "runs of mine/a.npy")
    enter(data, "rows", "1000")
    assert find_faults(data) == []
    assert data["subject"] == {"kind": "external", "path": "runs of mine/a.npy", "max_rows": 1000}
    data["hooks"] = ["my-model.layer-3"]
    assert field(data, "hooks").options == ("my-model.layer-3",)
    enter(data, "path", "a.npy, b.npy")
    assert data["search"]["over"] == {"subject.path": ["a.npy", "b.npy"]}
    assert len(check_study(data, "").points()) == 2
