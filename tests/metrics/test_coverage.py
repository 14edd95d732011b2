"""Coverage and class recall on dictionaries whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from engine.errors import InputError
from engine.metrics.coverage import coverage, leading_subspace, match_classes
from engine.metrics.ground_truth import Plane, random_directions

AXES = torch.eye(6, dtype=torch.float64)
FIRST = Plane("a+b", 1, 0.5, AXES[:, :2], True)
SECOND = Plane("a+b", 2, 0.5, AXES[:, 2:4], True)


class TestCoverage:
    def test_by_hand(self) -> None:
        # Twice e0, once e1, and e2 at 45° to a direction outside: the top two axes are e0 and e1.
        atoms = torch.stack([AXES[0], 9 * AXES[0], AXES[1], 0.3 * (AXES[2] + AXES[5])])
        atoms = torch.cat([atoms, AXES[1][None]])
        found = coverage(atoms, (FIRST, SECOND), 2)
        assert found.planes.tolist() == pytest.approx([1.0, 0.0])
        assert found.mean == pytest.approx(0.5)
        assert found.rank == 2
        assert found.null == pytest.approx(2 / 6)
        # The third axis is half in the second plane's e2: tr = ½, over two dimensions.
        assert coverage(atoms, (SECOND,), 3).mean == pytest.approx(0.25)

    def test_a_full_dictionary_covers_everything(self) -> None:
        found = coverage(random_directions(20, 6, 0), (FIRST, SECOND), 6)
        assert found.mean == pytest.approx(1.0)
        assert found.null == 1.0

    def test_random_subspaces_cover_r_of_d(self) -> None:
        # science.md §8: k/d = .0625 for k = 8, d = 128.
        plane = Plane("a", 1, 1.0, torch.eye(128, dtype=torch.float64)[:, :2], True)
        runs = [coverage(random_directions(1024, 128, s), (plane,), 8) for s in range(60)]
        assert runs[0].null == 0.0625
        assert sum(run.mean for run in runs) / 60 == pytest.approx(0.0625, abs=0.02)

    def test_dead_atoms_do_not_count_and_the_rank_is_what_there_is(self) -> None:
        live = torch.tensor([True, False, True, False, False, False])
        found = coverage(AXES, (FIRST,), 4, live)
        assert found.rank == 2
        assert found.mean == pytest.approx(0.5)
        assert coverage(AXES, (FIRST,), 4, torch.zeros(6, dtype=torch.bool)).mean == 0.0
        assert leading_subspace(torch.zeros(3, 6), 2).shape == (6, 0)

    def test_no_planes(self) -> None:
        assert math.isnan(coverage(AXES, (), 2).mean)

    def test_errors(self) -> None:
        with pytest.raises(InputError, match="coverage"):
            coverage(AXES, (FIRST,), 0)
        with pytest.raises(InputError, match="width 5"):
            coverage(torch.ones(3, 5), (FIRST,), 1)


class TestClasses:
    means = torch.tensor([[5.0, 1.0, 0.0], [5.0, 0.0, 1.0], [5.0, -1.0, -1.0]])

    def test_a_lookup_table_recalls_every_class(self) -> None:
        centred = self.means - self.means.mean(0)
        found = match_classes(3 * centred, self.means)
        assert (found.recall, found.precision) == (1.0, 1.0)
        assert found.cosine == pytest.approx(1.0)
        wide = torch.cat([centred, torch.tensor([[1.0, 0.0, 0.0]])])
        assert match_classes(wide, self.means).precision == pytest.approx(3 / 4)

    def test_the_common_mean_is_no_class_and_the_sign_counts(self) -> None:
        assert match_classes(self.means.mean(0)[None], self.means).recall == 0.0
        centred = self.means - self.means.mean(0)
        # Against every class its opposite has cosine -1; the others ½ or less.
        assert match_classes(-centred, self.means).recall == 0.0

    def test_dead_atoms_recall_nothing(self) -> None:
        centred = self.means - self.means.mean(0)
        live = torch.tensor([True, True, False])
        assert match_classes(centred, self.means, live).recall == pytest.approx(2 / 3)
        none = match_classes(centred, self.means, torch.zeros(3, dtype=torch.bool))
        assert (none.recall, none.cosine) == (0.0, 0.0)
        assert math.isnan(none.precision)

    def test_equal_classes_are_refused(self) -> None:
        with pytest.raises(InputError, match="class means"):
            match_classes(AXES, torch.ones(4, 6))
