"""The fast forward against the bridge's own, for every shape of model and format of tokens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.errors import CorruptArtifact, InputError
from engine.study.subject import Modular
from engine.subjects import reader, transformer
from engine.subjects.arithmetic import Problem, make_problem
from engine.subjects.reader import Reader, logits, read_hooks, spliced_logits
from engine.subjects.transformer import (
    Bridge,
    activations,
    embedding,
    load_weights,
    make_transformer,
    network,
    read_network,
    save_weights,
    token_embedding,
    weights,
)


def assert_close(found: Tensor, expected: Tensor, what: str = "") -> None:
    """Two ways of adding up the same float32 numbers."""
    torch.testing.assert_close(
        found, expected, rtol=1e-4, atol=1e-5, msg=lambda text: f"{what}: {text}"
    )


def config(tokens: str = "answer-blank", position: str = "=", **size: object) -> Modular:
    small = {"d_model": 12, "heads": 3, "d_mlp": 20, "init_seed": 5}
    return Modular.model_validate(
        {"modulus": 7, "tokens": tokens, "position": position, "transformer": {**small, **size}}
    )


def built(settings: Modular) -> tuple[Problem, Bridge]:
    """A model whose biases and norms are not at their trivial starting values."""
    model = make_transformer(settings)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for weight in weights(model).values():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
    return make_problem(settings), model


def whole(model: Bridge, problem: Problem) -> Tensor:
    """The bridge's own forward over all positions."""
    out: Tensor = model(problem.tokens_NT)[:, problem.read_index]  # type: ignore[operator]
    return out


MODELS = [
    config(),
    config(layers=2),
    config(normalization="LN", activation="gelu"),
    config(layers=2, normalization="LN"),
    config("sequence"),
    config("sequence", "c", layers=2),
    config("sequence", "a", layers=2),
    config("tuple", "b"),
    config("tuple", "c", layers=3, normalization="LN"),
]
IDS = [
    f"{m.tokens}-{m.position}-{m.transformer.layers}-{m.transformer.normalization}" for m in MODELS
]


@pytest.mark.parametrize("settings", MODELS, ids=IDS)
def test_fast_logits_are_the_bridges(settings: Modular) -> None:
    problem, model = built(settings)
    with torch.no_grad():
        expected = whole(model, problem)
    found = logits(network(model), problem.tokens_NT, problem.read_index)
    assert found.shape == (49, 7)
    assert_close(found, expected)


@pytest.mark.parametrize("settings", MODELS, ids=IDS)
@pytest.mark.parametrize("size", [5, 20])
def test_gradients_of_a_batch_are_the_bridges(settings: Modular, size: int) -> None:
    problem, model = built(settings)
    rows = torch.randperm(49, generator=torch.Generator().manual_seed(size))[:size]
    trained = {name: w for name, w in weights(model).items() if w.requires_grad}
    answers = problem.answers_N[rows]
    expected = torch.autograd.grad(
        F.cross_entropy(whole(model, problem)[rows].double(), answers), list(trained.values())
    )
    fast = Reader(network(model), problem.tokens_NT, problem.read_index).logits(rows)
    found = torch.autograd.grad(F.cross_entropy(fast.double(), answers), list(trained.values()))
    for name, one, other in zip(trained, found, expected, strict=True):
        assert_close(one, other, name)


def test_rows_may_repeat_and_stand_in_any_order() -> None:
    problem, model = built(config(layers=2))
    rows = torch.tensor([48, 3, 3, 11])
    with torch.no_grad():
        found = Reader(network(model), problem.tokens_NT, 2).logits(rows)
        assert_close(found, whole(model, problem)[rows])


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, model = built(config(layers=2))
    expected = logits(network(model), problem.tokens_NT, 2)
    zeros = torch.zeros(49, 12)
    spliced = spliced_logits(network(model), problem.tokens_NT, "blocks.0.hook_mlp_out", 2, zeros)
    monkeypatch.setattr(reader, "CHUNK", 10)
    monkeypatch.setattr(transformer, "CHUNK", 10)
    assert_close(logits(network(model), problem.tokens_NT, 2), expected)
    again = spliced_logits(network(model), problem.tokens_NT, "blocks.0.hook_mlp_out", 2, zeros)
    assert_close(again, spliced)


def test_a_model_worked_by_hand() -> None:
    """One head that attends evenly and a silent MLP: logits add up the embeddings."""
    settings = Modular.model_validate(
        {"modulus": 5, "transformer": {"d_model": 6, "heads": 1, "d_mlp": 4}}
    )
    model = make_transformer(settings)
    with torch.no_grad():
        for weight in weights(model).values():
            weight.zero_()
        own = weights(model)
        own["tok_embed.weight"].copy_(torch.eye(6))
        own["layers.0.attn.v.weight"].copy_(3 * torch.eye(6))
        own["layers.0.attn.o.weight"].copy_(torch.eye(6))
        own["head.weight"].copy_(torch.eye(5, 6))
    problem = make_problem(settings)
    found = logits(network(model), problem.tokens_NT, 2)
    # The pattern is a third each, values are three times the embedding: e_a + e_b + 2 e_=.
    assert found[1 * 5 + 4].tolist() == pytest.approx([0, 1, 0, 0, 1])
    assert found[2 * 5 + 2].tolist() == pytest.approx([0, 0, 2, 0, 0])


@pytest.mark.parametrize("settings", MODELS, ids=IDS)
def test_every_hook_exists_with_its_width_and_splicing_it_back_changes_nothing(
    settings: Modular,
) -> None:
    problem, model = built(settings)
    tokens_NT, at = problem.tokens_NT, problem.read_index
    found = activations(model, tokens_NT, list(settings.hooks()), at)
    expected = logits(network(model), tokens_NT, at)
    for hook, width in settings.hooks().items():
        assert found[hook].shape == (49, width)
        same = spliced_logits(network(model), tokens_NT, hook, at, found[hook])
        assert_close(same, expected, hook)
        zeros = spliced_logits(network(model), tokens_NT, hook, at, torch.zeros(49, width))
        assert (zeros - expected).abs().max() > 1e-3, hook


@pytest.mark.parametrize("settings", MODELS, ids=IDS)
def test_splices_are_those_of_the_bridges_hooks(settings: Modular) -> None:
    problem, model = built(settings)
    at = problem.read_index
    generator = torch.Generator().manual_seed(2)
    for hook, width in settings.hooks().items():
        if hook.endswith("resid_mid"):
            continue
        new_ND = torch.randn(49, width, generator=generator)

        def put(x_NTD: Tensor, hook: object, new_ND: Tensor = new_ND) -> Tensor:
            x_NTD = x_NTD.clone()
            x_NTD[:, at] = new_ND
            return x_NTD

        with torch.no_grad():
            out = model.run_with_hooks(problem.tokens_NT, fwd_hooks=[(hook, put)])  # type: ignore[attr-defined]
        found = spliced_logits(network(model), problem.tokens_NT, hook, at, new_ND)
        assert_close(found, out[:, at], hook)


def test_a_splice_between_attention_and_mlp_reaches_the_residual_stream_too() -> None:
    """The stream after the block is the replacement plus the MLP of the replacement."""
    problem, model = built(config())
    new_ND = torch.randn(49, 12, generator=torch.Generator().manual_seed(2))
    own = weights(model)
    with torch.no_grad():
        pre = F.linear(
            new_ND, own["layers.0.mlp.fc_in.weight"], own["layers.0.mlp.fc_in.bias"]
        ).relu()
        out = F.linear(pre, own["layers.0.mlp.fc_out.weight"], own["layers.0.mlp.fc_out.bias"])
        expected = F.linear(new_ND + out, own["head.weight"])
    found = spliced_logits(network(model), problem.tokens_NT, "blocks.0.hook_resid_mid", 2, new_ND)
    assert_close(found, expected)


def test_activations_are_read_at_the_read_position() -> None:
    problem, model = built(config("sequence"))
    name = "blocks.0.hook_resid_pre"
    found = activations(model, problem.tokens_NT, [name], 3)[name]
    own = weights(model)
    expected = own["tok_embed.weight"][problem.tokens_NT[:, 3]] + own["pos.weight"][3]
    assert_close(found, expected.detach())
    assert not found.requires_grad


def test_what_does_not_exist_is_refused() -> None:
    problem, model = built(config())
    tokens_NT = problem.tokens_NT
    with pytest.raises(InputError, match="nowhere"):
        activations(model, tokens_NT, ["blocks.0.hook_nowhere"], 2)
    with pytest.raises(InputError, match="nowhere"):
        spliced_logits(network(model), tokens_NT, "blocks.0.hook_nowhere", 2, torch.zeros(49, 12))
    with pytest.raises(InputError, match=r"\[49, 5\]: \[49, 12\]"):
        spliced_logits(network(model), tokens_NT, "blocks.0.hook_mlp_out", 2, torch.zeros(49, 5))
    with pytest.raises(InputError, match="48 rows: 49"):
        spliced_logits(network(model), tokens_NT, "blocks.0.hook_mlp_out", 2, torch.zeros(48, 12))
    with pytest.raises(InputError, match="3 of 3 positions"):
        logits(network(model), tokens_NT, 3)


def test_weights_follow_the_seed_and_leave_the_global_stream_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first = weights(make_transformer(config()))
    assert torch.equal(torch.rand(3), expected)
    second = weights(make_transformer(config()))
    other = weights(make_transformer(config(init_seed=6)))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_shapes_and_frozen_biases() -> None:
    own = weights(make_transformer(config("sequence", layers=2, normalization="LN")))
    assert own["tok_embed.weight"].shape == (11, 12)
    assert own["pos.weight"].shape == (7, 12)
    assert own["layers.1.mlp.fc_in.weight"].shape == (20, 12)
    assert own["head.weight"].shape == (7, 12)
    assert {name for name, w in own.items() if not w.requires_grad} == {
        name for name in own if name.endswith(".bias")
    }


def test_embedding_is_of_the_numbers_only() -> None:
    model = make_transformer(config("sequence"))
    found = embedding(model, 7)
    assert found.shape == (7, 12)
    assert token_embedding(model).shape == (11, 12)
    assert torch.equal(found, weights(model)["tok_embed.weight"][:7].detach())
    assert not found.requires_grad


@pytest.mark.parametrize("settings", MODELS, ids=IDS)
def test_the_reader_reads_what_the_bridges_hooks_give(settings: Modular) -> None:
    problem, model = built(settings)
    hooks = list(settings.hooks())
    expected = activations(model, problem.tokens_NT, hooks, problem.read_index)
    found = read_hooks(network(model), problem.tokens_NT, hooks, problem.read_index)
    for hook, width in settings.hooks().items():
        assert found[hook].shape == (len(problem.tokens_NT), width)
        torch.testing.assert_close(found[hook], expected[hook], rtol=1e-4, atol=1e-5)


def test_the_reader_refuses_a_hook_that_is_not_there() -> None:
    problem, model = built(config())
    with pytest.raises(InputError, match="none named"):
        read_hooks(network(model), problem.tokens_NT, ["blocks.7.hook_mlp_out"], 2)


def test_weights_survive_a_file(tmp_path: Path) -> None:
    settings = config(layers=2, normalization="LN")
    problem, model = built(settings)
    save_weights(model, tmp_path / "model.safetensors")
    again = load_weights(settings, tmp_path / "model.safetensors")
    expected = logits(network(model), problem.tokens_NT, 2)
    assert torch.equal(logits(network(again), problem.tokens_NT, 2), expected)
    unbuilt = read_network(settings, tmp_path / "model.safetensors")
    assert torch.equal(logits(unbuilt, problem.tokens_NT, 2), expected)
    assert set(load_file(tmp_path / "model.safetensors")) == set(weights(model))


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(CorruptArtifact, match=r"model\.safetensors"):
        load_weights(config(), path)
    path.write_bytes(b"no tensors")
    with pytest.raises(CorruptArtifact, match="no safetensors"):
        load_weights(config(), path)
    save_weights(make_transformer(config(d_mlp=21)), path)
    with pytest.raises(CorruptArtifact, match="names or shapes"):
        load_weights(config(), path)
    save_file({"stray": torch.zeros(1)}, path)
    with pytest.raises(CorruptArtifact, match="names or shapes"):
        load_weights(config(), path)


def test_importing_the_subject_loads_no_transformer_lens() -> None:
    code = "import sys, engine.subjects.modular; assert 'transformer_lens' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
