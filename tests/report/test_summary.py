"""The reference of summary.json: how it is written, and what it finds in a summary."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.report import summary as module
from engine.report.summary import FILE, Key, Reference, Type, faults, reference, seen

Record = dict[str, Any]
SMALL = """
shapes: {S: seeds}
records:
  Summary:
    about: The whole.
    keys:
      name: text | | of it
      cohorts: Cohort[] | | each
      note?: text? | | a remark | there is none
  Cohort:
    about: One.
    keys:
      seeds: integer[S] | | of it
      values: number?[S, S]? | nats | of pairs | not measured
      by:
        <seed>: yes/no | | of that seed
      cell: Cell | | of it
  Cell:
    about: A cell.
    keys:
      reason: text | | why there is nothing else
      mean: number | | of it
"""
TRUE: Record = {
    "name": "x",
    "cohorts": [
        {
            "seeds": [1, 2],
            "values": [[None, 0.5], [1, None]],
            "by": {"1": True},
            "cell": {"reason": "", "mean": 1.5},
        },
        {"seeds": [1], "values": None, "by": {}, "cell": {"reason": "no data"}},
    ],
}


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the reference be a small one."""
    file = tmp_path / "small.yaml"
    file.write_text(SMALL)
    monkeypatch.setattr(module, "FILE", file)
    reference.cache_clear()
    yield
    reference.cache_clear()


def change(*path: Any, to: Any) -> Record:
    made = copy.deepcopy(TRUE)
    place: Any = made
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return made


@pytest.mark.usefixtures("small")
def test_a_true_summary_has_no_fault_and_shows_its_paths() -> None:
    assert faults(TRUE) == []
    assert seen(TRUE) == {
        "name", "cohorts[]", "cohorts[].seeds[]", "cohorts[].values[][]", "cohorts[].by",
        "cohorts[].by.<seed>", "cohorts[].cell", "cohorts[].cell.reason", "cohorts[].cell.mean",
    }  # fmt: skip
    assert set(reference().paths()) == {*seen(TRUE), "note"}
    assert list(reference().places("Cell")) == ["cohorts[].cell"]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("more",), 1, "more: is not documented"),
        (("cohorts", 0, "more"), 1, "cohorts[].more: is not documented"),
        (("name",), None, "name: null, which is not said to be"),
        (("name",), 3, "name: int '3', not text"),
        (("cohorts", 0, "seeds"), [1.5, 2], "cohorts[].seeds[]: float '1.5', not integer"),
        (("cohorts", 0, "seeds"), [True, 2], "cohorts[].seeds[]: bool 'True', not integer"),
        (("cohorts", 0, "values"), [[None, 1.0]], "cohorts[].values[][]: 1 long, not S = 2"),
        (("cohorts", 0, "values"), [1, 2], "cohorts[].values[][]: int '1', not a list"),
        (("cohorts", 0, "cell"), {"reason": ""}, "cohorts[].cell.mean: is not there"),
        (("cohorts", 0, "cell"), 5, "cohorts[].cell.: int '5', not an object"),
        (("cohorts", 0, "by"), {"1": 1}, "cohorts[].by.<seed>: int '1', not yes/no"),
    ],
)
def test_what_is_not_as_it_is_told_is_a_fault(
    path: tuple[Any, ...], value: Any, fault: str
) -> None:
    assert fault in faults(change(*path, to=value))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: text | | of it", "name: text", "Summary.name: not `type | unit"),
        ("name: text", "name: words", "Summary.name: no type words"),
        ("name: text", "name: te xt", "no type 'te xt'"),
        ("about: A cell.", "about: A cell.\n    extends: Nothing", "Cell extends Nothing"),
    ],
)
def test_a_wrongly_written_entry_is_named(old: str, new: str, said: str) -> None:
    module.FILE.write_text(SMALL.replace(old, new, 1))
    with pytest.raises(ValueError, match=re.escape(said)):
        reference()


def test_types_say_which_part_may_be_null() -> None:
    told = {key.name: key for key in reference().keys_of("Agreement")}
    assert told["pairs"].type == Type("number", ("S", "S"), entry_null=True)
    assert told["null_pairs"].type == Type("number", ("S", "S"), entry_null=True, null=True)
    assert told["kappa"].type == Type("number", null=True)


def test_every_entry_says_what_it_is_and_what_null_means() -> None:
    def every(keys: tuple[Key, ...]) -> list[Key]:
        return [one for key in keys for one in (key, *every(key.inner))]

    told: Reference = reference()
    assert FILE.is_file()
    for part in told.parts.values():
        assert part.about
        assert part.name == "Summary" or list(told.places(part.name)) or _extended(told, part.name)
        for key in every(part.keys):
            if not key.inner:
                assert key.meaning or key.unit, f"{part.name}.{key.name}"
                may_be = key.type.null or key.type.entry_null
                assert bool(key.null_means) == may_be, f"{part.name}.{key.name}"
    assert set(told.shapes) == {
        size for part in told.parts.values() for key in every(part.keys)
        for size in key.type.sizes if size and not size.isdigit()
    }  # fmt: skip


def _extended(told: Reference, name: str) -> bool:
    return any(part.base == name for part in told.parts.values())


def test_what_a_record_extends_comes_first() -> None:
    names = [key.name for key in reference().keys_of("LossRecovered")]
    assert names == ["mean", "sd", "per_seed", "untrained"]
