"""The public reading interface on a finished study."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.client.features import open_features
from engine.client.results import CohortResults, StudyResults, read_study
from engine.errors import InputError, JobFailed
from engine.saes.formats import load_sae


def public(kind: type) -> set[str]:
    fields = set(getattr(kind, "__dataclass_fields__", ()))
    return fields | {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")}


def test_the_names_of_the_interface_are_frozen() -> None:
    """Notebooks and scripts of others use these: add, never rename."""
    assert public(StudyResults) == {
        "runs", "name", "summary", "report", "titles", "verdicts", "warnings", "cohort", "features",
    }  # fmt: skip
    assert public(CohortResults) == {
        "runs", "study", "title", "summary", "seeds", "headline", "table", "features", "null_features",
        "curves", "sae_path",
    }  # fmt: skip
    assert list(inspect.signature(read_study).parameters) == ["runs", "study"]
    assert list(inspect.signature(CohortResults.curves).parameters) == ["self", "seed"]
    assert list(inspect.signature(CohortResults.sae_path).parameters) == ["self", "seed"]


def test_a_study_is_read_as_it_was_written(grid: Path) -> None:
    study = read_study(grid, "grid")
    assert read_study(str(grid), "grid").summary == study.summary
    assert study.verdicts == {c["title"]: c["verdict"] for c in study.summary["cohorts"]}
    assert (study.report / "report.html").is_file()
    assert study.features().num_rows == sum(
        len(study.cohort(title).features["seed"]) for title in study.titles
    )


def test_a_cohort_has_its_features_its_curves_and_its_saes(grid: Path) -> None:
    study = read_study(grid, "grid")
    cohort = study.cohort(study.titles[0])
    where = cohort.summary["headline"]
    assert cohort.headline == cohort.summary["stability"][where["metric"]][where["subset"]]
    same = open_features(grid, "grid", cohort.title)
    assert np.array_equal(cohort.features["density"], same.columns["density"])
    assert np.array_equal(cohort.table.partner, same.partner)
    per_seed = cohort.summary["quality"]["explained_variance"]["per_seed"]
    for seed, ev in zip(cohort.seeds, per_seed, strict=True):
        curves = cohort.curves(seed)
        assert len(curves["step"]) == len(curves["explained_variance"])
        assert curves["explained_variance"][-1] == pytest.approx(ev, abs=0.02)
        assert load_sae(cohort.sae_path(seed)).seeds == (seed,)


def test_what_is_not_there_is_named(grid: Path, tmp_path: Path) -> None:
    study = read_study(grid, "grid")
    with pytest.raises(InputError, match="'x' is not in grid"):
        study.cohort("x")
    with pytest.raises(InputError, match="seed: 77 is not there"):
        study.cohort(study.titles[0]).curves(77)
    with pytest.raises(InputError, match="no such study here"):
        read_study(grid, "nothing")
    # A report alone, as it is sent to a colleague.
    shutil.copytree(grid / "grid", tmp_path / "grid")
    alone = read_study(tmp_path, "grid").cohort(study.titles[0])
    assert np.array_equal(
        alone.features["density"], study.cohort(study.titles[0]).features["density"]
    )
    assert alone.null_features() == {}
    with pytest.raises(JobFailed, match="only its report"):
        alone.sae_path(alone.seeds[0])
