"""Orders of seeds against the worked example and every permutation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from engine.errors import InputError
from engine.metrics.seriation import greedy_path, path_length, seed_order, two_opt


def line(*places: float) -> np.ndarray:
    x = np.array(places, dtype=float)
    return np.abs(x[:, None] - x[None, :])


def test_the_worked_example() -> None:
    # science.md §8: x = [0, 1, 3, 7]: best 7; greedy from 1 gives 8, from 2 gives 10.
    distances = line(0, 1, 3, 7)
    found = seed_order(distances)
    assert (found.order, found.length, found.exact) == ((0, 1, 2, 3), 7, True)
    assert path_length(distances, greedy_path(distances, 1)) == 8
    assert path_length(distances, greedy_path(distances, 2)) == 10


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7])
def test_no_permutation_is_shorter(n: int) -> None:
    rng = np.random.default_rng(n)
    distances = rng.random((n, n))
    distances = distances + distances.T
    best = min(path_length(distances, list(p)) for p in itertools.permutations(range(n)))
    found = seed_order(distances)
    assert sorted(found.order) == list(range(n))
    assert found.length == pytest.approx(best - 0)
    assert found.order[0] <= found.order[-1]


def test_many_seeds_on_a_line_are_put_in_line() -> None:
    rng = np.random.default_rng(0)
    places = rng.permutation(30).astype(float)
    found = seed_order(line(*places))
    assert not found.exact
    assert found.length == 29
    assert abs(np.diff(places[list(found.order)])).tolist() == [1.0] * 29


def test_two_opt_turns_a_crossing_back() -> None:
    distances = line(0, 1, 2, 3, 4)
    assert path_length(distances, [0, 3, 2, 1, 4]) == 8
    assert path_length(distances, two_opt(distances, [0, 3, 2, 1, 4])) == 4
    assert path_length(distances, two_opt(distances, [2, 1, 0, 3, 4])) == 4, "ends turn as well"


def test_nan_on_the_diagonal_is_no_distance() -> None:
    distances = line(0, 2, 1)
    np.fill_diagonal(distances, np.nan)
    assert seed_order(distances).order == (0, 2, 1)


@pytest.mark.parametrize(
    "distances",
    [np.zeros((2, 3)), np.array([[0, np.nan], [np.nan, 0]]), np.array([[0, 1], [2, 0]])],
)
def test_bad_input_is_refused(distances: np.ndarray) -> None:
    with pytest.raises(InputError):
        seed_order(distances)
