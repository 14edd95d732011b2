"""SAEs for other libraries: each library's documented forward pass, written here anew, does what ours do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from engine.errors import CorruptArtifact, InputError
from engine.saes import formats
from engine.saes.cohort import Cohort
from engine.saes.exchange import (
    FORMATS,
    SAE_LENS,
    SAFETENSORS,
    SPARSIFY,
    Format,
    OneSae,
    check_format,
    check_held,
    find_format,
    read_folder,
    read_ours,
    write_folder,
)
from engine.saes.foreign import load_foreign
from engine.saes.formats import TrainedSaes
from engine.study.recipe import SaeTraining
from engine.study.sae import BatchTopK, Gated, JumpReLU, Matryoshka, ReLU, Sae, TopK

Array = NDArray[Any]
CONFIGS: dict[str, Sae] = {
    "relu": ReLU(d_sae=10, l1=0.1),
    "topk": TopK(d_sae=10, k=3),
    "batch_topk": BatchTopK(d_sae=10, k=3),
    "matryoshka": Matryoshka(d_sae=10, k=3, groups=(0.5, 0.5)),
    "jumprelu": JumpReLU(d_sae=10, target_l0=3.0),
    "gated": Gated(d_sae=10, l1=0.1),
}
HELD = [(format, kind) for format in FORMATS.values() for kind in format.holds]
ELSEWHERE = [(format, kind) for format, kind in HELD if format is not SAFETENSORS]


def activations() -> torch.Tensor:
    """Far from zero and of another scale than 1, so that what is not folded shows."""
    return torch.randn(300, 4, generator=torch.Generator().manual_seed(0)) * 7 + 30


def trained(kind: str, folder: Path) -> TrainedSaes:
    """Train a little, untied and with biases that are not zero; save the SAE of seed 8."""
    task = Cohort(
        CONFIGS[kind],
        SaeTraining(epochs=3, batch_size=32, lr=3e-2, tied_init=False),
        [5, 8],
        activations(),
    )
    for index in range(task.steps):
        task.step(index)
    saes = formats.to_raw(task).select(8)
    formats.save_sae(folder, saes)
    return saes


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def largest(pre_BF: Array, k: int) -> Array:
    """Keep the k largest of each row."""
    kept = np.zeros_like(pre_BF)
    places = np.argsort(-pre_BF, axis=1)[:, :k]
    np.put_along_axis(kept, places, np.take_along_axis(pre_BF, places, 1), 1)
    return kept


def sae_lens_forward(folder: Path, x: Array) -> tuple[Array, Array]:
    """As the docstrings of SAELens' inference classes say."""
    cfg = json.loads((folder / "cfg.json").read_text())
    w = load_file(folder / "sae_weights.safetensors")
    assert cfg["normalize_activations"] == "none"
    assert cfg["reshape_activations"] == "none"
    sae_in = x - w["b_dec"] * cfg["apply_b_dec_to_input"]
    if cfg["architecture"] == "gated":
        gate = sae_in @ w["W_enc"] + w["b_gate"] > 0
        z = gate * relu(sae_in @ (w["W_enc"] * np.exp(w["r_mag"])) + w["b_mag"])
    else:
        pre = sae_in @ w["W_enc"] + w["b_enc"]
        z = {
            "standard": lambda: relu(pre),
            "topk": lambda: relu(largest(pre, cfg["k"])),
            "jumprelu": lambda: relu(pre) * (pre > w["threshold"]),
        }[cfg["architecture"]]()
    return z, z @ w["W_dec"] + w["b_dec"]


def sparsify_forward(folder: Path, x: Array) -> tuple[Array, Array]:
    """Top-k of ReLU(W(x − b_dec) + b), as SparseCoder.encode says."""
    cfg = json.loads((folder / "cfg.json").read_text())
    w = load_file(folder / "sae.safetensors")
    assert (cfg["num_latents"], cfg["d_in"]) == w["encoder.weight"].shape
    pre = relu((x - w["b_dec"]) @ w["encoder.weight"].T + w["encoder.bias"])
    z = largest(pre, cfg["k"])
    return z, z @ w["W_dec"] + w["b_dec"]


FORWARD = {"sae_lens": sae_lens_forward, "sparsify": sparsify_forward}


@pytest.mark.parametrize(("format", "kind"), ELSEWHERE, ids=lambda v: getattr(v, "name", v))
def test_their_forward_pass_on_raw_activations_is_ours(
    format: Format, kind: str, tmp_path: Path
) -> None:
    ours = trained(kind, tmp_path / "ours")
    write_folder(tmp_path / "theirs", read_ours(tmp_path / "ours"), format, {})
    x = activations()
    z, reconstruction = FORWARD[format.name](tmp_path / "theirs", x.numpy())
    expected = ours.encode(x)
    active = (expected[0] > 0).sum(1).float().mean()
    assert 0 < active < 10, "what is on for every input or for none shows nothing"
    np.testing.assert_allclose(z, expected[0].numpy(), atol=2e-4)
    np.testing.assert_allclose(reconstruction, ours.decode(expected)[0].numpy(), atol=2e-4)


@pytest.mark.parametrize(("format", "kind"), HELD, ids=lambda v: getattr(v, "name", v))
def test_what_is_read_back_is_bitwise_the_same(format: Format, kind: str, tmp_path: Path) -> None:
    ours = trained(kind, tmp_path / "ours")
    folder = tmp_path / "theirs"
    write_folder(folder, read_ours(tmp_path / "ours"), format, {"hook_name": "here"})
    if format is SAFETENSORS:
        back = formats.load_sae(folder)
    else:
        assert find_format(folder) is format
        back = load_foreign(folder, format)
    assert (back.config, back.seeds, back.scale) == (ours.config, ours.seeds, ours.scale)
    assert (back.inputs, back.fires is not None) == (300, True)
    assert ours.fires is not None
    assert torch.equal(back.fires, ours.fires)  # type: ignore[arg-type]
    for name, tensor in ours.weights.named().items():
        assert torch.equal(back.weights.named()[name], tensor), name
    x = activations()
    assert torch.equal(back.decode(back.encode(x)), ours.decode(ours.encode(x)))


def test_what_sae_lens_asks_for_is_told(tmp_path: Path) -> None:
    trained("topk", tmp_path / "ours")
    write_folder(
        tmp_path / "out", read_ours(tmp_path / "ours"), SAE_LENS, {"hook_name": "blocks.0.x"}
    )
    cfg = json.loads((tmp_path / "out" / "cfg.json").read_text())
    assert (cfg["architecture"], cfg["k"], cfg["d_in"], cfg["d_sae"]) == ("topk", 3, 4, 10)
    assert cfg["apply_b_dec_to_input"] is True
    assert cfg["rescale_acts_by_decoder_norm"] is False
    assert cfg["metadata"]["hook_name"] == "blocks.0.x"
    # Below 6 SAELens would take the older way, which drops the metadata.
    assert int(cfg["metadata"]["sae_lens_version"].split(".")[0]) >= 6


@pytest.mark.parametrize("kind", [kind for kind in CONFIGS if kind != "topk"])
def test_what_sparsify_cannot_express_is_refused(kind: str, tmp_path: Path) -> None:
    trained(kind, tmp_path / "ours")
    said = f"--format sparsify: holds topk, not {kind}: one of sae_lens, safetensors"
    with pytest.raises(InputError) as refused:
        write_folder(tmp_path / "out", read_ours(tmp_path / "ours"), SPARSIFY, {})
    assert str(refused.value) == said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["batch_topk", "matryoshka"])
def test_without_a_threshold_there_is_no_jumprelu(kind: str, tmp_path: Path) -> None:
    trained(kind, tmp_path)
    one = read_ours(tmp_path)
    unset = OneSae(one.settings, {**one.arrays, "threshold": np.float32([-1.0]).reshape(())})
    with pytest.raises(InputError, match=r"has seen no batch.*: safetensors"):
        check_held(unset, SAE_LENS)
    check_held(unset, SAFETENSORS)


@pytest.mark.parametrize(
    ("name", "said"),
    [("dictionary_learning", "a pickle"), ("onnx", "one of sae_lens, sparsify, safetensors")],
)
def test_formats_that_are_not_written_say_why(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_format(name)


def change_settings(folder: Path, **changes: Any) -> None:
    file = folder / "cfg.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize(
    ("format", "changes", "error", "said"),
    [
        (SAE_LENS, {"metadata": {}}, InputError, "without the settings of husai"),
        (SAE_LENS, {"metadata": None}, InputError, "without the settings of husai"),
        (SAE_LENS, {"apply_b_dec_to_input": False}, CorruptArtifact, "apply_b_dec_to_input is False"),
        (SAE_LENS, {"normalize_activations": "layer_norm"}, CorruptArtifact, "normalize_activations"),
        (SAE_LENS, {"architecture": "standard"}, CorruptArtifact, "architecture is 'standard'"),
        (SPARSIFY, {"transcode": True}, CorruptArtifact, "transcode is True"),
        (SPARSIFY, {"activation": "groupmax"}, CorruptArtifact, "activation is 'groupmax'"),
        (SPARSIFY, {"husai": None}, InputError, "sparsify without the settings of husai"),
        (SPARSIFY, {"husai": {}}, CorruptArtifact, "not the settings of SAEs"),
    ],
)  # fmt: skip
def test_what_is_not_ours_or_was_changed_is_not_read(
    format: Format, changes: dict[str, Any], error: type[Exception], said: str, tmp_path: Path
) -> None:
    trained("topk", tmp_path / "ours")
    write_folder(tmp_path / "out", read_ours(tmp_path / "ours"), format, {})
    change_settings(tmp_path / "out", **changes)
    with pytest.raises(error, match=said):
        load_foreign(tmp_path / "out", format)


def test_weights_that_do_not_fit_are_not_read(tmp_path: Path) -> None:
    trained("batch_topk", tmp_path / "ours")
    folder = tmp_path / "out"
    write_folder(folder, read_ours(tmp_path / "ours"), SAE_LENS, {})
    file = folder / "sae_weights.safetensors"
    whole = load_file(file)
    spread = {**whole, "threshold": np.arange(10, dtype=np.float32)}
    save_file(spread, file)
    with pytest.raises(CorruptArtifact, match="thresholds differ"):
        read_folder(folder, SAE_LENS)
    save_file({**whole, "b_dec": whole["b_dec"][:3]}, file)
    with pytest.raises(CorruptArtifact, match="b_dec"):
        load_foreign(folder, SAE_LENS)
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(CorruptArtifact, match="not safetensors"):
        read_folder(folder, SAE_LENS)


def test_it_loads_no_torch() -> None:
    code = (
        "import sys, engine.saes.exchange, engine.client.export; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
