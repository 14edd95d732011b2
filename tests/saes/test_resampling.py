"""Resampling by hand, and that each method revives latents that stay dead without it."""

import pytest
import torch

from engine.saes.architectures import make_architecture
from engine.saes.cohort import Cohort
from engine.saes.resampling import _directions, resample
from engine.study.sae import Dead, JumpReLU, ReLU, Sae, TopK
from tests.saes.conftest import TRAINING, activations, batches, fresh

CONFIG = ReLU(d_sae=6, l1=0.1)


def prepared() -> tuple[object, torch.optim.Adam]:
    sae = make_architecture(CONFIG, fresh(CONFIG))
    optimizer = torch.optim.Adam(list(sae.parameters().values()), lr=1e-3, fused=True)
    torch.autograd.backward(sae.forward(batches().batch(0).expand(2, -1, -1), 0).error.sum())
    optimizer.step()
    return sae, optimizer


def test_dead_latents_are_set_anew_and_their_moments_forgotten() -> None:
    sae, optimizer = prepared()
    w = sae.weights  # type: ignore[attr-defined]
    with torch.no_grad():
        w.b_enc.fill_(0.3)
        w.W_enc.mul_(2.0)
    dead = torch.zeros(2, 6, dtype=torch.bool)
    dead[0, [1, 4]] = True
    before = w.map(lambda t: t.detach().clone())
    data = batches()
    resample(sae, fresh(CONFIG), optimizer, data, dead, (0, 1), step=9)  # type: ignore[arg-type]
    x = torch.nn.functional.normalize(data.take(data.train) - before.b_dec[0], dim=-1)
    live_norm = before.W_enc[0][~dead[0]].norm(dim=1).mean()
    for latent in (1, 4):
        assert float((x @ w.W_dec[0, latent].detach()).max()) > 1 - 1e-5, "an input's direction"
        assert torch.allclose(w.W_enc[0, latent], w.W_dec[0, latent] * 0.2 * live_norm, atol=1e-6)
        assert w.b_enc[0, latent] == 0.0
        for parameter in (w.W_dec, w.W_enc, w.b_enc):
            for name in ("exp_avg", "exp_avg_sq"):
                assert not optimizer.state[parameter][name][0, latent].any()
    untouched = ~dead
    assert torch.equal(w.W_dec[untouched], before.W_dec[untouched])
    assert torch.equal(w.W_enc[untouched], before.W_enc[untouched])
    assert optimizer.state[w.W_enc]["exp_avg"][0, 0].any()
    assert torch.equal(w.b_dec, before.b_dec)


def test_inputs_with_a_large_error_are_chosen() -> None:
    """One input has a hundred times the error of the others: its chance is 1e4 of theirs each."""
    sae, optimizer = prepared()
    data = batches()
    w = sae.weights  # type: ignore[attr-defined]
    data.activations_ND = data.activations_ND.clone()
    odd = int(data.train[17])
    data.activations_ND[odd] = 400.0
    dead = torch.zeros(2, 6, dtype=torch.bool)
    dead[1, 3] = True
    resample(sae, fresh(CONFIG), optimizer, data, dead, (0, 1), step=9)  # type: ignore[arg-type]
    direction = torch.nn.functional.normalize(data.take(torch.tensor([odd]))[0] - w.b_dec[1], dim=0)
    assert torch.allclose(w.W_dec[1, 3], direction, atol=1e-5)


def test_the_chance_of_an_input_is_the_square_of_its_loss() -> None:
    """Losses 1 and 3, so chances .1 and .9; 2,000 draws scatter by .007 (with the loss itself it is .75)."""
    inputs, losses = torch.eye(2), torch.tensor([1.0, 3.0])
    generator = torch.Generator().manual_seed(0)
    drawn = torch.cat([_directions(inputs, losses, 1, generator) for _ in range(2000)])
    assert float(drawn[:, 1].mean()) == pytest.approx(0.9, abs=0.03)


def test_what_is_drawn_follows_from_seed_and_step() -> None:
    found = []
    for seeds, step in (((0, 1), 9), ((0, 1), 9), ((0, 2), 9), ((0, 1), 10)):
        sae, optimizer = prepared()
        resample(
            sae,  # type: ignore[arg-type]
            fresh(CONFIG),
            optimizer,
            batches(),
            torch.ones(2, 6, dtype=torch.bool),
            seeds,
            step,
        )
        found.append(sae.weights.W_dec.detach()[1])  # type: ignore[attr-defined]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[3])


def test_thresholds_of_revived_latents_start_again() -> None:
    config = JumpReLU(d_sae=6, target_l0=2.0, threshold=0.25)
    sae = make_architecture(config, fresh(config))
    optimizer = torch.optim.Adam(list(sae.parameters().values()), lr=1e-3, fused=True)
    torch.autograd.backward(
        sum(p.sum() for p in sae.parameters().values())  # type: ignore[arg-type]
    )
    optimizer.step()
    threshold = sae.weights.extra["threshold"]
    with torch.no_grad():
        threshold.fill_(3.0)
    dead = torch.zeros(2, 6, dtype=torch.bool)
    dead[1, 4] = True
    resample(sae, fresh(config), optimizer, batches(), dead, (0, 1), step=9)
    assert threshold[1].tolist() == [3.0, 3.0, 3.0, 3.0, 0.25, 3.0]
    assert not optimizer.state[threshold]["exp_avg"][1, 4].any()
    assert optimizer.state[threshold]["exp_avg"][1, 3].any()


def test_resampling_is_due_by_a_share_of_the_training_unless_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """45 steps, a tenth rounds to 4; none after .8 of them."""
    for every, due in ((None, [4, 8, 12, 16, 20, 24, 28, 32, 36]), (15, [15, 30])):
        found: list[int] = []
        dead = Dead(method="resample", after_tokens=10**6, every=every)
        task = Cohort(ReLU(d_sae=6, l1=0.1, dead=dead), TRAINING, (3, 7), activations())
        monkeypatch.setattr(
            task.dead, "revive", lambda _, seen=found, t=task: seen.append(t.dead.seen)
        )
        for index in range(task.steps):
            task.step(index)
        assert [seen // 32 for seen in found] == due


def share_that_fires(dead: Dead, config: Sae, bias: float) -> float:
    """Train SAEs of which half the latents start too low to be chosen; return the share that fires."""
    training = TRAINING.model_copy(update={"epochs": 60, "schedule": "constant"})
    task = Cohort(config.model_copy(update={"dead": dead}), training, (3, 7), activations())
    with torch.no_grad():
        task.saes.weights.b_enc[:, :12] = bias
    for index in range(task.steps):
        task.step(index)
    fires, _ = task.fires()
    return float((fires[:, :12] > 0).double().mean())


TOPK, RELU = TopK(d_sae=24, k=3), ReLU(d_sae=24, l1=0.05)
# AuxK's ReLU gives no gradient to a latent that is below zero on all inputs: its latents start less low.
CASES = pytest.mark.parametrize(
    ("method", "options", "config", "bias"),
    [
        ("auxk", {"coefficient": 1.0}, TOPK, -3.0),
        ("ghost", {}, TOPK, -4.0),
        ("resample", {"every": 100}, RELU, -40.0),
    ],
)


@CASES
def test_a_method_revives_what_stays_dead_without_it(
    method: str, options: dict[str, float], config: Sae, bias: float
) -> None:
    none = Dead(method="none", after_tokens=500)
    assert share_that_fires(none, config, bias) < 0.05
    chosen = Dead.model_validate({"method": method, "after_tokens": 500, **options})
    assert share_that_fires(chosen, config, bias) > 0.3
