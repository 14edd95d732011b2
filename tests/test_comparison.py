"""Saved SAEs compared: against pairs with a known answer, with what cannot be compared refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.comparison import Entry, compare, find_saes, main
from engine.disk.root import RunsRoot
from engine.disk.rundir import RunDirectory
from engine.errors import CorruptArtifact, InputError
from engine.metrics.nulls import isotropic_mean_max_cos
from engine.saes.formats import TrainedSaes, save_cohort, save_sae
from engine.saes.weights import Weights
from engine.study.sae import TopK


def saes(W_dec_SFD: Tensor, *seeds: int, fires: Tensor | None = None) -> TrainedSaes:
    S, F, D = W_dec_SFD.shape
    weights = Weights(W_dec_SFD.clone(), torch.zeros(S, F), W_dec_SFD, torch.zeros(S, D))
    return TrainedSaes(TopK(d_sae=F, k=1), seeds, weights, 1.0, fires, 1000)


def entry(name: str, rows_FD: Tensor, seed: int, subject: str = "") -> Entry:
    fires = torch.full((1, len(rows_FD)), 500)
    return Entry(name, saes(rows_FD[None], seed, fires=fires), subject=subject)


def basis(width: int = 16) -> Tensor:
    return torch.eye(width)


def test_the_same_features_in_another_order_are_shared() -> None:
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    found = compare([entry("a", basis(), 1), entry("b", basis()[order], 2)])
    for name in (
        "mean_max_cos",
        "matched_mcc",
        "shared_fraction@0.7",
        "strict_shared_fraction@0.7",
    ):
        cell = found["metrics"][name]["live"]
        assert cell["observed"] == pytest.approx(1.0)
        assert cell["kappa"] == pytest.approx(1.0)
    assert [null["name"] for null in found["metrics"]["mean_max_cos"]["live"]["nulls"]] == [
        "N0", "N1", "N2", "N3"
    ]  # fmt: skip
    assert "no N1" in found["notes"][0]
    json.dumps(found, allow_nan=False)


def test_the_sign_decides_whether_a_negated_feature_is_another() -> None:
    pair = [entry("a", basis(), 1), entry("b", -basis(), 2)]
    assert compare(pair)["metrics"]["mean_max_cos"]["live"]["observed"] == pytest.approx(0.0)
    assert compare(pair, "abs")["metrics"]["mean_max_cos"]["live"]["observed"] == pytest.approx(1.0)


def test_two_sizes_have_the_null_of_both() -> None:
    # science.md §8: A = I2, B = [e1; e1] has mean-max .75; here half of 16 is there, so (.5 + 1)/2.
    found = compare([entry("a", basis(), 1), entry("b", basis()[:8], 2)])
    cell = found["metrics"]["mean_max_cos"]["live"]
    assert cell["n_per_seed"] == [16, 8]
    assert cell["observed"] == pytest.approx(0.75)
    null = isotropic_mean_max_cos(16, 8, 16)
    assert cell["nulls"][0]["value"] == pytest.approx(null)
    (pair,) = found["pairs"]
    assert pair["null"] == pytest.approx(null)
    assert pair["kappa"] == pytest.approx((0.75 - null) / (1 - null))
    assert found["metrics"]["matched_mcc"]["live"]["observed"] == pytest.approx(1.0), (
        "min(n_A, n_B)"
    )


def test_one_seed_and_size_is_one_start_and_no_evidence() -> None:
    found = compare([entry("a", basis(), 1), entry("b", basis(), 1)])
    cell = found["metrics"]["mean_max_cos"]["live"]
    assert cell["observed"] == pytest.approx(1.0)
    assert cell["kappa"] is None
    assert "start from the same directions" in cell["reason"]


def test_a_dead_latent_is_not_counted_as_live() -> None:
    one = entry("a", basis(), 1)
    fires = torch.full((1, 16), 500)
    fires[0, 3] = 9
    other = Entry("b", saes(basis()[None], 2, fires=fires))
    found = compare([one, other])
    assert found["metrics"]["mean_max_cos"]["live"]["n_per_seed"] == [16, 15]
    assert [sae["live"] for sae in found["saes"]] == [16, 15]


def test_what_cannot_be_compared_is_refused() -> None:
    one = entry("a", basis(), 1)
    with pytest.raises(InputError, match="one has nothing to agree with: 2 to 16"):
        compare([one])
    with pytest.raises(InputError, match="b: d_in is 8, that of a is 16: SAEs of one hook"):
        compare([one, entry("b", basis(8), 2)])
    with pytest.raises(InputError, match="a: is named twice"):
        compare([one, entry("a", basis(), 2)])
    with pytest.raises(InputError, match="another subject"):
        compare([entry("a", basis(), 1, subject="s1"), entry("b", basis(), 2, subject="s2")])


def test_files_are_found_by_folder_file_and_seed(tmp_path: Path) -> None:
    both = saes(torch.stack([basis(), basis()]), 4, 7)
    save_cohort(tmp_path / "cohort", both)
    save_sae(tmp_path / "one", both.select(7))
    root = RunsRoot(tmp_path / "runs")
    assert [e.saes.seeds for e in find_saes(f"{tmp_path}/cohort", root)] == [(4,), (7,)]
    assert [e.saes.seeds for e in find_saes(f"{tmp_path}/cohort:7", root)] == [(7,)]
    for name in ("one", "one/sae.safetensors", "one/sae.json"):
        (found,) = find_saes(f"{tmp_path}/{name}", root)
        assert found.saes.seeds == (7,)
        assert torch.equal(found.saes.weights.W_dec[0], basis())
    with pytest.raises(InputError, match=r"seed: 5 is not there: one of \[4, 7\]"):
        find_saes(f"{tmp_path}/cohort:5", root)


def test_the_folder_of_a_job_holds_its_saes_once_it_has_ended(tmp_path: Path) -> None:
    run, root = RunDirectory(tmp_path / "jobs" / "cohort-1"), RunsRoot(tmp_path)
    run.create({"kind": "cohort"})
    with pytest.raises(CorruptArtifact, match="no result yet"):
        find_saes(str(run.path), root)
    save_cohort(run.begin_artifacts(), saes(torch.stack([basis(), basis()]), 4, 7))
    run.finish({})
    assert [e.saes.seeds for e in find_saes(str(run.path), root)] == [(4,), (7,)]
    (found,) = find_saes(f"{run.path}:7", root)
    assert found.saes.seeds == (7,)
    empty = RunDirectory(tmp_path / "jobs" / "report-1")
    empty.create({"kind": "report"})
    empty.begin_artifacts()
    empty.finish({})
    with pytest.raises(InputError, match="holds no saved SAEs: the folder of a cohort's job"):
        find_saes(str(empty.path), root)


def test_files_that_are_none_or_torn_are_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = RunsRoot(tmp_path)
    with pytest.raises(InputError, match="nowhere: no such file, and no such study here"):
        find_saes("nowhere", root)
    with pytest.raises(InputError, match="holds no saved SAEs"):
        find_saes(str(tmp_path), root)
    (tmp_path / "other.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"not a file of saved SAEs: one of sae\.safetensors"):
        find_saes(f"{tmp_path}/other.safetensors", root)
    save_sae(tmp_path / "torn", saes(basis()[None], 1))
    (tmp_path / "torn" / "sae.safetensors").write_bytes(b"torn")
    with pytest.raises(CorruptArtifact, match="not safetensors"):
        find_saes(f"{tmp_path}/torn", root)
    threads = str(torch.get_num_threads())
    code = main([f"{tmp_path}/torn", "x", "--runs", str(tmp_path), "--threads", threads])
    assert code == 1
    said = json.loads(capsys.readouterr().out)
    assert "not safetensors" in said["error"]
    assert "\n" not in said["error"]
