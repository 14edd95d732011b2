"""N6 by hand: turned planes, oblique planes, lines, and agreement that phases do or do not carry."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from engine.errors import InputError
from engine.metrics.matching import pair_values
from engine.metrics.nulls import decoder_law, draw_values
from engine.metrics.phase_null import distinct_planes, phase_table, turn
from engine.metrics.similarity import unit_cosines

TAUS = (0.7,)


def axes(width: int, *numbers: int) -> Tensor:
    """Unit vectors as columns."""
    return torch.eye(width, dtype=torch.float64)[:, list(numbers)]


def test_a_quarter_turn_in_one_plane_leaves_the_rest() -> None:
    rows = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0.6, 0, 0.8, 0]])
    turned = turn(rows, [axes(4, 0, 1)], [math.pi / 2])
    wanted = torch.tensor([[0.0, 1, 0, 0], [0, 0, 1, 0], [0, 0.6, 0.8, 0]]).double()
    assert torch.allclose(turned, wanted, atol=1e-7)


def test_each_plane_has_its_own_angle() -> None:
    rows = torch.tensor([[0.6, 0.0, 0.8, 0.0]])
    turned = turn(rows, [axes(4, 0, 1), axes(4, 2, 3)], [math.pi, math.pi / 2])
    assert torch.allclose(turned, torch.tensor([[-0.6, 0.0, 0.0, 0.8]]).double(), atol=1e-7)


def test_oblique_planes_turn_apart() -> None:
    # Two planes 60° apart: an atom inside the first has no coordinate in the second.
    tilted = torch.stack(
        [axes(4, 2)[:, 0], (axes(4, 0) / 2 + math.sqrt(0.75) * axes(4, 3))[:, 0]], 1
    )
    first = axes(4, 0, 1)
    turned = turn(torch.tensor([[1.0, 0, 0, 0]]), [first, tilted], [math.pi / 2, 1.0])
    assert torch.allclose(turned, torch.tensor([[0.0, 1, 0, 0]]).double(), atol=1e-7)
    inside_second = turn(tilted.T, [first, tilted], [1.0, math.pi / 2])
    assert torch.allclose(inside_second, torch.stack([tilted[:, 1], -tilted[:, 0]]), atol=1e-7)


def test_lines_are_reflected_or_left() -> None:
    row = torch.tensor([[0.6, 0.8]])
    line = [axes(2, 0)]
    assert torch.allclose(turn(row, line, [math.pi]), torch.tensor([[-0.6, 0.8]]).double())
    assert torch.allclose(turn(row, line, [0.3]), row.double())


def test_a_plane_that_all_but_lies_in_another_turns_with_it() -> None:
    slightly = torch.stack([axes(4, 0)[:, 0], (axes(4, 1) + 0.1 * axes(4, 2))[:, 0]], 1)
    slightly = slightly / slightly.norm(dim=0)
    assert len(distinct_planes([axes(4, 0, 1), slightly, axes(4, 2, 3)])) == 2
    assert len(distinct_planes([axes(4, 0, 1), axes(4, 1, 2)])) == 2, "half of it is elsewhere"


def test_identical_tilings_keep_the_agreement_of_independent_phases() -> None:
    # science.md §8: m evenly spaced atoms with independent phases agree by sin(π/m)/(π/m); m = 4: .900.
    angle = torch.arange(4) * math.pi / 2
    atoms = torch.stack([angle.cos(), angle.sin(), torch.zeros(4)], 1)
    table = phase_table([atoms] * 3, [axes(3, 0, 1)], draws=1500, taus=TAUS)
    assert table.draws == 1500
    assert table.turned == 1
    assert table.pairs_MSS[0, 0, 1] == pytest.approx(0.900, abs=0.01)
    assert table.pairs_MSS[0].diagonal() == pytest.approx([math.nan] * 3, nan_ok=True)


def unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=1)


def outside(count: int, seed: int) -> Tensor:
    """Random unit rows in 12 dimensions, of which the first two are empty."""
    rows = torch.randn(count, 12, generator=torch.Generator().manual_seed(seed))
    rows[:, :2] = 0
    return unit(rows)


def inside(count: int, seed: int) -> Tensor:
    """Unit rows at random phases of the first plane."""
    angle = 2 * math.pi * torch.rand(count, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.pad(torch.stack([angle.cos(), angle.sin()], 1), (0, 10))


def scores(decoders: list[Tensor]) -> tuple[float, float]:
    """What seeds 0 and 1 score in mean_max_cos, and their N6."""
    seen = pair_values(unit_cosines(decoders[0], decoders[1], "signed"), TAUS)[0]
    table = phase_table(decoders, [axes(12, 0, 1)], draws=60, taus=TAUS)
    return seen, float(table.pairs_MSS[0, 0, 1])


def test_what_seeds_share_outside_the_planes_is_no_chance() -> None:
    # Half of the features are the same in both seeds and in no plane: turning alone leaves them all there.
    seen, null = scores([torch.cat([outside(20, 0), outside(20, 1 + s)]) for s in range(2)])
    assert seen > 0.75
    assert null < 0.65
    mixed = [torch.cat([outside(20, 0), inside(6, 1 + s)]) for s in range(2)]
    seen, null = scores(mixed)
    assert seen - null > 0.2


def test_without_atoms_in_planes_it_is_all_but_n2() -> None:
    decoders = [outside(40, s) for s in range(2)]
    laws = [decoder_law(rows) for rows in decoders]
    drawn = draw_values([(laws[0], laws[1])], 200, TAUS, "signed").mean(0)
    table = phase_table(decoders, [axes(12, 0, 1)], draws=200, taus=TAUS)
    assert table.pairs_MSS[:, 0, 1] == pytest.approx(drawn, abs=0.035)
    assert table.inside == pytest.approx(0, abs=1e-9)


def test_random_phases_and_rests_are_at_chance_whatever_the_planes_hold() -> None:
    # Of each atom half its energy in the plane, at a random phase, and half outside: nothing is shared.
    seen, null = scores([unit(inside(40, s) + outside(40, 9 + s)) for s in range(2)])
    assert seen == pytest.approx(null, abs=0.02)


def test_a_direction_that_all_atoms_share_is_no_agreement_of_features() -> None:
    # Random phases, and in every atom of every seed the same offset.
    offset = 0.7 * torch.eye(12)[11]
    seen, null = scores([unit(inside(20, s) + offset) for s in range(2)])
    assert seen == pytest.approx(null, abs=0.02)


def test_the_same_atoms_in_the_planes_are_more_than_chance() -> None:
    atoms = inside(6, 0)
    seen, null = scores([atoms, atoms])
    assert seen == pytest.approx(1, abs=1e-6)
    assert null < 0.97
    table = phase_table([atoms, atoms], [axes(12, 0, 1)], draws=2, taus=TAUS)
    assert table.inside == pytest.approx(1)


def test_the_same_seed_draws_the_same_angles() -> None:
    rows = [torch.eye(3)] * 2
    tables = [phase_table(rows, [axes(3, 0, 1)], draws=3, taus=TAUS, seed=s) for s in (1, 1, 2)]
    values = [table.pairs_MSS[0, 0, 1] for table in tables]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize(
    ("bases", "where"),
    [
        ([], "planes"),
        ([torch.ones(3, 2)], "planes"),
        ([torch.eye(3)], "planes"),
        ([axes(3, 0, 1), axes(4, 2)], "planes"),
        ([axes(4, 0, 1)], "planes"),
    ],
)
def test_planes_that_are_none_are_refused(bases: list[Tensor], where: str) -> None:
    with pytest.raises(InputError, match=where):
        phase_table([torch.eye(3)] * 2, bases, draws=1, taus=TAUS)


def test_one_seed_or_an_angle_too_few_is_refused() -> None:
    with pytest.raises(InputError, match="decoders"):
        phase_table([torch.eye(3)], [axes(3, 0, 1)], draws=1, taus=TAUS)
    with pytest.raises(InputError, match="angles"):
        turn(torch.eye(3), [axes(3, 0, 1)], [])
