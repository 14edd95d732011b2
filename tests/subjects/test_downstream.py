"""The part behind a hook gives what splicing into the whole network gives; gradients are the bridge's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.errors import InputError
from engine.study.subject import Modular
from engine.subjects.arithmetic import make_problem
from engine.subjects.downstream import BESIDE, Downstream
from engine.subjects.gradients import fresh_network, logit_gradients
from engine.subjects.reader import CHUNK, Network, logits, read_hooks, spliced_logits
from engine.subjects.transformer import make_transformer, network, weights
from tests.subjects.networks import made_up


def config(**size: object) -> Modular:
    tokens = str(size.pop("tokens", "answer-blank"))
    small = {"d_model": 12, "heads": 3, "d_mlp": 20, "init_seed": 5}
    return Modular.model_validate(
        {"modulus": 7, "tokens": tokens, "transformer": {**small, **size}}
    )


SETTINGS = [
    config(),
    config(layers=2, normalization="LN", activation="gelu"),
    config(tokens="sequence"),
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_hook_is_spliced_as_the_reader_does(settings: Modular) -> None:
    problem, net = make_problem(settings), made_up(settings)
    last = f"blocks.{settings.transformer.layers - 1}."
    assert {last + name for name in BESIDE} <= set(settings.hooks())
    for hook, width in settings.hooks().items():
        behind = Downstream(net, problem.tokens_NT, hook, problem.read_index)
        new = torch.randn(49, width, generator=torch.Generator().manual_seed(1))
        whole = spliced_logits(net, problem.tokens_NT, hook, problem.read_index, new)
        torch.testing.assert_close(behind.logits(new), whole, rtol=1e-4, atol=1e-5)
        rows = torch.tensor([3, 48, 3, 0])
        torch.testing.assert_close(
            behind.logits(new[rows], rows), whole[rows], rtol=1e-4, atol=1e-5
        )


def test_chunks_change_nothing() -> None:
    settings = SETTINGS[0]
    problem, net = make_problem(settings), made_up(settings)
    hook = "blocks.0.hook_mlp_out"
    behind = Downstream(net, problem.tokens_NT, hook, problem.read_index)
    rows = torch.arange(CHUNK + 30) % 49
    new = torch.randn(49, 12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(behind.logits(new[rows], rows), behind.logits(new)[rows])


def test_splicing_back_what_was_read_changes_nothing() -> None:
    settings = SETTINGS[1]
    problem, net = make_problem(settings), made_up(settings)
    clean = logits(net, problem.tokens_NT, problem.read_index)
    for hook in settings.hooks():
        read = read_hooks(net, problem.tokens_NT, [hook], problem.read_index)[hook]
        behind = Downstream(net, problem.tokens_NT, hook, problem.read_index)
        torch.testing.assert_close(behind.logits(read), clean, rtol=1e-4, atol=1e-5)


def test_wrong_shapes_and_hooks_are_refused() -> None:
    problem, net = make_problem(SETTINGS[0]), made_up(SETTINGS[0])
    for hook, width in (("blocks.0.hook_resid_post", 12), ("blocks.0.mlp.hook_post", 20)):
        behind = Downstream(net, problem.tokens_NT, hook, problem.read_index)
        with pytest.raises(InputError, match=rf"\[rows, {width}\]"):
            behind.logits(torch.zeros(49, 5))
        with pytest.raises(InputError, match="has 3 rows"):
            behind.logits(torch.zeros(3, width))
        with pytest.raises(InputError, match="has 3 rows"):
            behind.logits(torch.zeros(3, width), torch.tensor([0, 1]))
    elsewhere = Downstream(net, problem.tokens_NT, "blocks.7.hook_resid_post", 2)
    with pytest.raises(InputError, match="none named"):
        elsewhere.logits(torch.zeros(49, 12))


def by_hand(net: Network, settings: Modular, a: int, b: int, c: int) -> tuple[Tensor, Tensor]:
    """∂Q_c/∂E_a and ∂Q_c/∂E_b by central differences, entry by entry, in float64."""
    double = {name: tensor.double() for name, tensor in net.weights.items()}
    answers = []
    problem = make_problem(settings)
    row = problem.tokens_NT[a * 7 + b].clone()
    places = [settings.positions().index(name) for name in "ab"]
    for place in places:
        # A token of its own, so that a step moves this position alone.
        table = torch.cat(
            [double["tok_embed.weight"], double["tok_embed.weight"][row[place]][None]]
        )
        tokens, steps = row.clone(), []
        tokens[place] = len(table) - 1
        for entry in range(table.shape[1]):
            ends = []
            for step in (1e-5, -1e-5):
                moved = table.clone()
                moved[-1, entry] += step
                one = Network({**double, "tok_embed.weight": moved}, net.layers, net.heads,
                              net.normalized, net.eps, net.gelu)  # fmt: skip
                ends.append(float(logits(one, tokens[None], problem.read_index)[0, c]))
            steps.append((ends[0] - ends[1]) / 2e-5)
        answers.append(torch.tensor(steps))
    return answers[0], answers[1]


@pytest.mark.parametrize("settings", SETTINGS)
def test_gradients_toward_both_inputs(settings: Modular) -> None:
    problem, net = make_problem(settings), made_up(settings)
    triples = [(1, 2, 4), (3, 3, 0), (6, 1, 6)]  # (3, 3): one token, two positions
    rows = torch.tensor([7 * a + b for a, b, _ in triples])
    answers = torch.tensor([c for *_, c in triples])
    places = [settings.positions().index(name) for name in "ab"]
    found = logit_gradients(net, problem.tokens_NT[rows], answers, problem.read_index, places)
    for number, (a, b, c) in enumerate(triples):
        expected = by_hand(net, settings, a, b, c)
        for side in range(2):
            torch.testing.assert_close(
                found[side][number].double(), expected[side].double(), rtol=1e-3, atol=1e-5
            )


def test_gradients_after_the_read_position_are_refused() -> None:
    problem, net = make_problem(SETTINGS[0]), made_up(SETTINGS[0])
    with pytest.raises(InputError, match="toward"):
        logit_gradients(net, problem.tokens_NT[:2], torch.tensor([0, 1]), 1, [0, 2])


@pytest.mark.parametrize(
    "settings", [config(d_model=96, d_mlp=300), config(layers=2, normalization="LN")]
)
def test_a_fresh_network_starts_as_transformer_lens_does(settings: Modular) -> None:
    like = network(make_transformer(settings))
    fresh = fresh_network(like, seed=3)
    assert set(fresh.weights) == set(weights(make_transformer(settings)))
    for name, tensor in like.weights.items():
        drawn = fresh.weights[name]
        assert drawn.shape == tensor.shape
        if tensor.numel() > 1000:
            assert float(drawn.std()) == pytest.approx(float(tensor.detach().std()), rel=0.12), name
        if tensor.ndim == 1:
            torch.testing.assert_close(drawn, tensor.detach(), msg=name)
    torch.testing.assert_close(
        fresh_network(like, 3).weights["pos.weight"], fresh.weights["pos.weight"]
    )
    assert not torch.equal(
        fresh_network(like, 4).weights["pos.weight"], fresh.weights["pos.weight"]
    )
