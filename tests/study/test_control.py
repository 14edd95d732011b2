"""The planted controls: what science.md §6 accepts, and names that a person can give."""

from __future__ import annotations

import pytest

from engine.errors import InputError
from engine.study.control import ACCEPTANCE, CONTROLS, find_controls


def test_every_row_of_the_specification_is_there() -> None:
    assert [control.name for control in CONTROLS] == [
        "matched", "redundant", "compressive", "gaussian", "broken-aux-10", "broken-aux-64", "no-aux-10",
        "no-aux-64", "signed-relu", "ten-of-64", "clock", "gated", "oracle-permutation", "oracle-sign",
        "oracle-noise", "oracle-duplicates", "oracle-subset",
    ]  # fmt: skip


def test_the_acceptance_values_are_those_of_the_specification() -> None:
    # science.md §6: "A matched GT-MCC>=.9, kappa>=.8; N3 kappa within ±.05 of 0; B gated >=90 %,
    # always-on <10 %".
    accepted = {
        (control.name, check.measure): (check.low, check.high)
        for control in CONTROLS
        for check in control.checks
        if check.source == ACCEPTANCE
    }
    assert accepted == {
        ("matched", "gt_mcc"): (0.9, None),
        ("matched", "kappa"): (0.8, None),
        ("gaussian", "kappa"): (-0.05, 0.05),
        ("clock", "one_plane"): (0.0, 0.1),
        ("gated", "one_plane"): (0.9, None),
    }


def test_a_row_trains_or_has_an_oracle_and_says_where_its_numbers_are_from() -> None:
    for control in CONTROLS:
        assert (control.sae is None) != (control.oracle is None)
        assert len(control.seeds) >= 3, "an interval needs three"
        assert control.checks
        for check in control.checks:
            assert check.source
            assert check.low is not None or check.high is not None
    assert [c.name for c in CONTROLS if c.broken] == ["broken-aux-10", "broken-aux-64"]
    assert [c.name for c in CONTROLS if c.twin] == ["matched", "gaussian"]


def test_rows_are_found_by_name_in_their_order() -> None:
    assert find_controls() == CONTROLS
    assert [c.name for c in find_controls(["clock", "matched"])] == ["matched", "clock"]
    with pytest.raises(InputError, match=r"--only sky: no such row: one of matched, redundant"):
        find_controls(["matched", "sky"])
