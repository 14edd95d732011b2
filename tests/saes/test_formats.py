"""Saved SAEs: raw units, one seed out of many, refusals."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.errors import CorruptArtifact, InputError
from engine.saes import formats
from engine.saes.cohort import Cohort
from engine.saes.weights import initial_decoder
from engine.study.recipe import SaeTraining
from engine.study.sae import BatchTopK, Gated, JumpReLU, Matryoshka, ReLU, Sae, TopK

CONFIGS: list[Sae] = [
    TopK(d_sae=10, k=3),
    ReLU(d_sae=10, l1=0.1),
    BatchTopK(d_sae=10, k=3),
    Matryoshka(d_sae=10, k=3, groups=(0.5, 0.5)),
    JumpReLU(d_sae=10, target_l0=3.0),
    Gated(d_sae=10, l1=0.1),
]
EXTRA = {
    "batch_topk": {"threshold": []},
    "matryoshka": {"threshold": []},
    "jumprelu": {"threshold": [10]},
    "gated": {"b_mag": [10], "r_mag": [10]},
}


def activations() -> Tensor:
    return torch.randn(300, 4, generator=torch.Generator().manual_seed(0)) * 7 + 30


def trained(config: Sae) -> Cohort:
    task = Cohort(config, SaeTraining(epochs=2, batch_size=32, lr=1e-2), [5, 8], activations())
    for index in range(task.steps):
        task.step(index)
    return task


@pytest.mark.parametrize("config", CONFIGS)
def test_exported_saes_act_on_raw_activations(config: Sae, tmp_path: Path) -> None:
    task = trained(config)
    formats.save_cohort(tmp_path, formats.to_raw(task))
    loaded = formats.load_cohort(tmp_path)
    x, rows = activations(), torch.arange(300)
    z = loaded.encode(x)
    inner = task.saes.encode(task.batches.take(rows).expand(2, -1, -1))
    assert torch.allclose(z * loaded.scale, inner, atol=1e-4)
    reconstruction = task.saes.decode(inner) / loaded.scale + task.batches.mean_D
    assert torch.allclose(loaded.decode(z), reconstruction, atol=1e-3)
    assert torch.allclose(loaded.weights.W_dec.norm(dim=-1), torch.ones(2, 10), atol=1e-6)
    assert loaded.config == config
    assert loaded.seeds == (5, 8)
    assert loaded.inputs == 300
    assert loaded.fires is not None
    assert torch.equal(loaded.fires, (z > 0).sum(1))


@pytest.mark.parametrize("config", CONFIGS)
def test_one_seed_is_loadable_by_itself(config: Sae, tmp_path: Path) -> None:
    whole = formats.to_raw(trained(config), count=False)
    formats.save_sae(tmp_path, whole.select(8))
    tensors = load_file(tmp_path / "sae.safetensors")
    assert {name: list(tensor.shape) for name, tensor in tensors.items()} == {
        "W_enc": [4, 10],
        "b_enc": [10],
        "W_dec": [10, 4],
        "b_dec": [4],
        **EXTRA.get(config.architecture, {}),
    }
    loaded = formats.load_sae(tmp_path)
    assert loaded.seeds == (8,)
    x = activations()
    assert torch.allclose(loaded.encode(x)[0], whole.encode(x)[1], atol=1e-5)
    if isinstance(config, ReLU):
        z = torch.relu((x - tensors["b_dec"]) @ tensors["W_enc"] + tensors["b_enc"])
        assert torch.allclose(z, loaded.encode(x)[0], atol=1e-5)


def test_refusals_before_saving(tmp_path: Path) -> None:
    whole = formats.to_raw(trained(CONFIGS[0]), count=False)
    with pytest.raises(InputError, match="seed: 6 is not there"):
        whole.select(6)
    with pytest.raises(InputError, match="2 SAEs in one file"):
        formats.save_sae(tmp_path, whole)


def test_the_start_of_a_cohort_has_its_initial_decoders(tmp_path: Path) -> None:
    task = trained(CONFIGS[0])
    formats.save_cohort(tmp_path, formats.start_of(task), formats.START)
    start = formats.load_cohort(tmp_path, formats.START)
    assert torch.equal(start.weights.W_dec[0], initial_decoder(5, 10, 4))
    assert torch.equal(start.weights.b_dec[1], task.batches.mean_D)
    assert not torch.equal(start.weights.W_dec, formats.to_raw(task).weights.W_dec)


def test_parts_of_a_cohort_join_in_order() -> None:
    whole = formats.to_raw(trained(CONFIGS[2]))
    joined = formats.join([whole.select(8), whole.select(5)])
    assert joined.seeds == (8, 5)
    assert torch.equal(joined.weights.W_dec[1], whole.weights.W_dec[0])
    assert torch.equal(joined.weights.extra["threshold"], whole.weights.extra["threshold"].flip(0))
    assert joined.fires is not None
    assert whole.fires is not None
    assert torch.equal(joined.fires[0], whole.fires[1])
    assert formats.join([whole]) is whole


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    formats.save_cohort(tmp_path, formats.to_raw(trained(CONFIGS[0])))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("W_dec", torch.zeros(2, 4, 10), r"W_dec is \[2, 4, 10\], not \[2, 10, 4\]"),
        ("b_enc", torch.zeros(1, 10), r"b_enc is \[1, 10\], not \[2, 10\]"),
        ("b_dec", torch.zeros(2, 4).half(), r"b_dec is torch.float16"),
        ("b_gate", torch.zeros(2, 10), "b_gate does not belong"),
        ("W_enc", None, "W_enc is missing"),
    ],
)
def test_tensors_that_do_not_fit(
    saved: Path, name: str, tensor: Tensor | None, message: str
) -> None:
    tensors = load_file(saved / "cohort.safetensors")
    del tensors[name if name in tensors else "fires"]
    if tensor is not None:
        tensors[name] = tensor
    save_file(tensors, saved / "cohort.safetensors")
    with pytest.raises(CorruptArtifact, match=message) as caught:
        formats.load_cohort(saved)
    assert "\n" not in str(caught.value)


def test_files_that_are_missing_or_torn(saved: Path) -> None:
    with pytest.raises(CorruptArtifact, match=r"sae\.json: missing"):
        formats.load_sae(saved)
    settings = json.loads((saved / "cohort.json").read_text())
    settings["sae"]["k"] = -1
    (saved / "cohort.json").write_text(json.dumps(settings))
    with pytest.raises(CorruptArtifact, match="not the settings of SAEs") as caught:
        formats.load_cohort(saved)
    assert "\n" not in str(caught.value)
    settings["sae"]["k"] = 3
    (saved / "cohort.json").write_text(json.dumps(settings))
    (saved / "cohort.safetensors").write_bytes(b"torn")
    with pytest.raises(CorruptArtifact, match="not safetensors"):
        formats.load_cohort(saved)
