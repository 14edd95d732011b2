"""What `husai-engine export` writes, loaded by the libraries themselves: their forward pass on raw
activations is our reconstruction.

Both keep nothing to normalise, so that the only difference is the order of sums in float32.
"""

from pathlib import Path

import pytest
import torch
from sae_lens import SAE
from sides import B, F, K, assert_near, make_activations
from sparsify import SparseCoder

from engine.saes import formats
from engine.saes.cohort import Cohort
from engine.saes.exchange import SAE_LENS, SPARSIFY, read_ours, write_folder
from engine.saes.foreign import load_foreign
from engine.saes.formats import TrainedSaes
from engine.study.recipe import SaeTraining
from engine.study.sae import BatchTopK, Gated, JumpReLU, Matryoshka, ReLU, Sae, TopK

CONFIGS: list[Sae] = [
    ReLU(d_sae=F, l1=0.1),
    TopK(d_sae=F, k=K),
    BatchTopK(d_sae=F, k=K),
    Matryoshka(d_sae=F, k=K),
    JumpReLU(d_sae=F, target_l0=float(K)),
    Gated(d_sae=F, l1=0.1),
]


def raw() -> torch.Tensor:
    """Return activations far from zero and of another scale than 1."""
    return make_activations() * 7 + 30


def trained(config: Sae, folder: Path) -> TrainedSaes:
    """Train a little from an untied start, and save the second seed."""
    training = SaeTraining(epochs=3, batch_size=B, lr=1e-2, warmup_steps=0, tied_init=False)
    cohort = Cohort(config, training, [3, 4], raw())
    for index in range(cohort.steps):
        cohort.step(index)
    saes = formats.to_raw(cohort).select(4)
    formats.save_sae(folder, saes)
    return saes


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.architecture)
def test_sae_lens_reconstructs_as_we_do(config: Sae, tmp_path: Path) -> None:
    ours = trained(config, tmp_path / "ours")
    write_folder(
        tmp_path / "theirs", read_ours(tmp_path / "ours"), SAE_LENS, {"hook_name": "planted"}
    )
    theirs = SAE.load_from_disk(tmp_path / "theirs")
    assert theirs.cfg.metadata.hook_name == "planted"
    x_BD = raw()
    z_SBF = ours.encode(x_BD)
    assert 0 < float((z_SBF > 0).float().mean()) < 1
    with torch.no_grad():
        assert_near(z_SBF[0], theirs.encode(x_BD), "latents")
        assert_near(ours.decode(z_SBF)[0], theirs(x_BD), "reconstruction")


def test_sae_lens_keeps_what_we_need_to_read_it_again(tmp_path: Path) -> None:
    ours = trained(TopK(d_sae=F, k=K), tmp_path / "ours")
    write_folder(tmp_path / "theirs", read_ours(tmp_path / "ours"), SAE_LENS, {})
    SAE.load_from_disk(tmp_path / "theirs").save_model(tmp_path / "saved")
    back = load_foreign(tmp_path / "saved", SAE_LENS)
    assert back.config == ours.config
    for name, tensor in ours.weights.named().items():
        assert torch.equal(back.weights.named()[name], tensor)


def test_sparsify_reconstructs_as_we_do(tmp_path: Path) -> None:
    ours = trained(TopK(d_sae=F, k=K), tmp_path / "ours")
    write_folder(tmp_path / "theirs", read_ours(tmp_path / "ours"), SPARSIFY, {})
    theirs = SparseCoder.load_from_disk(tmp_path / "theirs")
    x_BD = raw()
    with torch.no_grad():
        assert_near(ours.decode(ours.encode(x_BD))[0], theirs(x_BD).sae_out, "reconstruction")
