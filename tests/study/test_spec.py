from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import InputError
from engine.study.spec import (
    check_study,
    dump_yaml,
    find_faults,
    parse_yaml,
    presets,
    read_study,
    write_yaml,
)


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_is_a_study_of_its_own_name(name: str) -> None:
    study = read_study(name)
    assert study.name == name
    assert study.description


def test_the_seeds_experiment_is_what_the_seeds_describe() -> None:
    study = read_study("topk-vs-relu")
    assert study.seeds == (42, 123, 456, 789, 1011)
    assert [(sae.architecture, sae.d_sae) for sae in study.saes] == [("topk", 1024), ("relu", 1024)]
    assert study.saes[0].architecture == "topk"
    assert study.saes[0].k == 32
    training = study.training
    assert (training.epochs, training.batch_size, training.lr) == (20, 256, 3e-4)
    assert study.subject.hooks()[study.hooks[0]] == 128


def test_a_study_survives_being_written_and_read(study_data: dict[str, Any]) -> None:
    study = check_study(study_data, "here")
    again = check_study(json.loads(study.model_dump_json()), "there")
    assert again == study


@pytest.mark.parametrize("name", ["1e3", "2e5", "007", "yes", "null", "1.5"])
def test_names_that_look_like_numbers_survive_yaml(study_data: dict[str, Any], name: str) -> None:
    study = check_study({**study_data, "name": name}, "here")
    assert check_study(parse_yaml(write_yaml(study), "there"), "there") == study


# where, what is wrong, what would be right: each must be in the one line.
BAD = {
    "a single latent": (
        "saes.0.d_sae=1",
        "saes.0.d_sae",
        "one latent has none beside it",
        "2 or more",
    ),
    "k above d_sae": ("saes.0.k=2000", "saes.0.k", "2000 is above d_sae 1024", "at most 1024"),
    "modulus not prime": (
        "subject.modulus=112",
        "subject.modulus",
        "112 is not prime",
        "109 or 113",
    ),
    "empty seeds": ("seeds=[]", "seeds", "is empty", "at least one"),
    "one seed": ("seeds=[7]", "seeds", "one seed has nothing to agree with", "better five"),
    "seed twice": ("seeds=[7, 8, 7]", "seeds", "7 is there twice", "every seed once"),
    "negative seed": ("seeds=[-1]", "seeds.0", "-1", "greater than or equal to 0"),
    "hook missing": (
        "hooks=[blocks.7.hook_mlp_out]",
        "hooks",
        "no hook 'blocks.7.",
        "blocks.0.hook_resid",
    ),
    "unknown key": ("saes.0.kk=3", "saes.0.kk", "unknown key", "did you mean 'k'?"),
    "unknown deep key": (
        "subject.transformer.width=3",
        "subject.transformer.width",
        "unknown key",
        "d_model",
    ),
    "text for a number": ("training.lr=fast", "training.lr", "'fast'", "a number"),
    "fraction for a count": ("training.epochs=2.5", "training.epochs", "2.5", "a whole number"),
    "truth for a count": ("training.epochs=true", "training.epochs", "True", "a whole number"),
    "number for a block": ("training=3", "training", "3", "a block of keys"),
    "number for a list": ("saes=3", "saes", "3", "a list"),
    "architecture unknown": (
        "saes.0.architecture=foo",
        "saes.0",
        "'foo'",
        "'topk', 'batch_topk', 'matryoshka', 'relu'",
    ),
    "kind unknown": ("subject.kind=video", "subject", "'video'", "'modular', 'planted'"),
    "task unknown": (
        "subject.task=divide",
        "subject.task",
        "'divide'",
        "'add', 'subtract' or 'multiply'",
    ),
    "missing value": ("saes.0={architecture: topk, k: 3}", "saes.0.d_sae", "is missing", "a value"),
    "missing architecture": ("saes.0={k: 3}", "saes.0", "'architecture' is missing", "says which"),
    "heads do not divide": (
        "subject.transformer.heads=3",
        "subject.transformer.heads",
        "3",
        "divide d_model",
    ),
    "split above one": (
        "subject.split={train: 0.9, test: 0.5}",
        "subject.split.train",
        "1.4",
        "at most 1",
    ),
    "position not there": ("subject.position=c", "subject.position", "'c'", "a, b, ="),
    "infinite rate": ("training.lr=.inf", "training.lr: ", "inf is not finite", "a finite number"),
    "no number in a list": (
        "training.betas=[0.9, .nan]",
        "training.betas.1: ",
        "nan is not finite",
        "",
    ),
    "a date": ("description=2020-01-01", "description: ", "a date: 2020-01-01", "text"),
    "a date as key": ("training={2020-01-01: 1}", "training: ", "a date as key", "text as keys"),
    "one group": (
        "saes.0={architecture: matryoshka, d_sae: 8, k: 2, groups: [1.0]}",
        "saes.0.groups",
        "has one entry",
        "at least 2 entries",
    ),
    "misspelt and required": (
        "saes.0={architecture: topk, d_sea: 64, k: 4}",
        "saes.0.d_sea: ",
        "unknown key",
        "did you mean 'd_sae'?",
    ),
    "name with a slash": ("name=a/b", "name", "'a/b'", "letters, digits"),
    "name reserved": ("name=jobs", "name", "reserved", "another name"),
    "shared start and order": (
        "saes.1.stability={shared_init: true}",
        "saes.1.stability.shared_init",
        "all seeds would be the same SAE",
        "`vary: [init, order]` or `vary: [order]`",
    ),
    "start of nothing": (
        "saes.0.stability={start: 0.5, pinned: 0.1}",
        "saes.0.stability.start",
        "neither consistency nor orthogonality is set",
        "a weight above 0",
    ),
    "fall of k without steps": (
        "saes.0.k_start=64",
        "saes.0.k_start",
        "no steps to fall over",
        "k_warmup_steps above 0",
    ),
    "k that rises": (
        "saes.0={architecture: topk, d_sae: 64, k: 8, k_warmup_steps: 9, k_start: 4}",
        "saes.0.k_start",
        "4 is below k 8",
        "at least 8",
    ),
    "every latent on": (
        "saes.0={architecture: jumprelu, d_sae: 64, target_l0: 64}",
        "saes.0.target_l0",
        "64 of 64 latents",
        "below 64",
    ),
    "resampling of nothing": (
        "saes.0.dead={method: none, every: 10}",
        "saes.0.dead.every",
        "nothing is resampled with method none",
        "method resample",
    ),
    "no equals sign": ("epochs", "--set epochs", "no `=`", "key.path=value"),
    "a digit that is no number": (
        "saes.².k=1",
        "--set saes.².k=1",
        "'²' is not there",
        "a key path",
    ),
    "a digit that is no number at the end": (
        "seeds.²=1",
        "--set seeds.²=1",
        "'²' cannot be set here",
        "a key of the study",
    ),
    "no such item": ("saes.9.k=1", "--set saes.9.k=1", "'9' is not there", "a key path"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_input_is_refused_in_one_line(case: str) -> None:
    override, where, what, want = BAD[case]
    with pytest.raises(InputError) as caught:
        read_study("topk-vs-relu", [override])
    line = str(caught.value)
    assert "\n" not in line
    assert where in line
    assert what in line
    assert want in line
    if not where.startswith("--set"):
        assert line.startswith("topk-vs-relu.yaml: ")


@pytest.mark.parametrize("vary", ["[init, order]", "[order]"])
def test_seeds_that_start_alike_may_differ_in_the_order_of_batches(vary: str) -> None:
    settings = ["saes.0.stability={shared_init: true}", f"vary={vary}"]
    assert read_study("topk-vs-relu", settings).saes[0].stability.shared_init


@pytest.mark.parametrize("objective", ["consistency", "orthogonality"])
def test_an_objective_may_join_late(objective: str) -> None:
    late = read_study("topk-vs-relu", [f"saes.0.stability={{{objective}: 0.1, start: 0.5}}"])
    assert late.saes[0].stability.start == 0.5


def test_the_number_of_further_errors_is_told(study_data: dict[str, Any]) -> None:
    study_data["training"] = {"epochs": "many", "batch_size": "large"}
    with pytest.raises(InputError, match=r"\(and 1 more\)"):
        check_study(study_data, "f.yaml")


@pytest.mark.parametrize(
    ("sae", "more"),
    [
        ({"architecture": "topk", "d_sae": 12}, ""),
        # A misspelt key is not missing, too, and a list of one wrong entry is not empty.
        ({"architecture": "topk", "d_sea": 12, "k": 2}, ""),
        ({"architecture": "topk", "d_sae": 12, "k": "x", "kk": 2}, " (and 1 more)"),
    ],
)
def test_what_another_error_brings_about_is_not_counted(
    study_data: dict[str, Any], sae: dict[str, Any], more: str
) -> None:
    study_data["saes"] = [sae]
    with pytest.raises(InputError) as caught:
        check_study(study_data, "f.yaml")
    assert caught.value.want.partition(" (and")[1:] == more.partition(" (and")[1:]


def test_unknown_keys_come_first(study_data: dict[str, Any]) -> None:
    study_data["training"] = {"epochs": "many", "lrr": 1}
    with pytest.raises(InputError, match=r"training.lrr: unknown key: did you mean 'lr'\?"):
        check_study(study_data, "f.yaml")


def test_a_misspelt_preset_is_guessed() -> None:
    with pytest.raises(InputError, match=r"no such study: did you mean 'topk-vs-relu'\?"):
        read_study("topk-vs-rleu")


def test_an_override_reaches_into_lists_and_new_blocks() -> None:
    study = read_study("topk-vs-relu", ["saes.0.k=8", "analysis.surrogate=false", "seeds=[1,2,3]"])
    assert study.saes[0].model_dump()["k"] == 8
    assert not study.analysis.surrogate
    assert study.seeds == (1, 2, 3)


def test_scientific_numbers_without_a_dot_are_numbers() -> None:
    assert parse_yaml("[1e-3, 2E5, -3e+1]", "x") == [0.001, 200000.0, -30.0]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a: 1\na: 2", "'a' appears twice"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("a: [1", "line 1"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
    ],
)
def test_yaml_that_could_surprise_is_refused(text: str, what: str) -> None:
    with pytest.raises(InputError, match=r"^f\.yaml") as caught:
        parse_yaml(text, "f.yaml")
    assert what in str(caught.value)


def test_a_file_that_is_no_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such study.*preset"):
        read_study(str(tmp_path / "nothing.yaml"))
    with pytest.raises(InputError, match="is a folder"):
        read_study(str(tmp_path))
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        read_study(str(binary))
    large = tmp_path / "l.yaml"
    large.write_text("#" * (1 << 21))
    with pytest.raises(InputError, match="1 MB"):
        read_study(str(large))
    empty = tmp_path / "e.yaml"
    empty.write_text("")
    with pytest.raises(InputError, match="is empty"):
        read_study(str(empty))


def test_all_faults_are_told_each_at_its_bare_key_path(study_data: dict[str, Any]) -> None:
    study_data["saes"][0]["k"] = 99
    study_data["training"]["epochs"] = "x"
    assert [str(fault) for fault in find_faults(study_data)] == [
        "saes.0.k: 99 is above d_sae 12: at most 12",
        "training.epochs: got 'x': a whole number",
    ]
    study_data["seeds"] = [1.5, float("inf")]
    assert [fault.where for fault in find_faults(study_data)] == ["seeds.1"]


def test_yaml_for_people_reads_back_to_the_same(study_data: dict[str, Any]) -> None:
    study_data["description"] = "ünï: # 1e-3"
    text = dump_yaml(study_data)
    assert parse_yaml(text, "") == study_data
    assert "seeds: [1, 2, 3]" in text.splitlines()
