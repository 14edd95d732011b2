"""What is added to the loss to make seeds agree: consistency across seeds, orthogonal decoders.

Both look at a sample of decoder rows, another one each step, so that they cost less than the encoder
product. A function of the step alone decides the sample.

Shapes: S seeds, D width, F latents, M sampled rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.study.sae import Stability
from engine.training import stream

ROWS = 256
"""Decoder rows looked at in a step."""


def stability_loss(
    options: Stability, W_dec_SFD: Tensor, alive_SF: Tensor, sound_S: Tensor, step: int
) -> Tensor:
    """Return the weighted sum of the two losses, per seed [S]; 0 for a seed that is not sound.

    Args:
        options: their weights.
        W_dec_SFD: decoder rows of norm 1.
        alive_SF: latents that fire, bool; the others are left out of consistency: with no other gradient
            they would chase rows of other seeds and agree without being anything.
        sound_S: seeds that take part, bool.
        step: step of the training.
    """
    S, F, _ = W_dec_SFD.shape
    generator = stream("stability objectives", step)
    rows_M = torch.randperm(F, generator=generator)[:ROWS].to(W_dec_SFD.device)
    shift = int(torch.randint(1, max(2, S), (), generator=generator))
    loss_S = W_dec_SFD.new_zeros(S)
    places = sound_S.nonzero().view(-1)
    if options.consistency and len(places) > 1:
        picked = W_dec_SFD[places]
        shift = (shift - 1) % (len(places) - 1) + 1  # never a seed with itself
        loss_S = loss_S.index_add(
            0,
            places,
            options.consistency * consistency_loss(picked, alive_SF[places], rows_M, shift),
        )
    if options.orthogonality and len(places):
        picked = W_dec_SFD[places]
        loss_S = loss_S.index_add(
            0, places, options.orthogonality * orthogonality_loss(picked, rows_M)
        )
    return loss_S


def consistency_loss(W_dec_SFD: Tensor, alive_SF: Tensor, rows_M: Tensor, shift: int) -> Tensor:
    """Return, per seed [S], 1 − the mean over its live rows among M of the cosine with the best match among
    the live rows of another seed: the one `shift` places further, cyclically. Without a live row it is 0.

    The match is chosen without gradient; both sides of it are drawn together.
    """
    own_SMD, own_SM = W_dec_SFD[:, rows_M], alive_SF[:, rows_M]
    other_SFD, other_SF = W_dec_SFD.roll(-shift, 0), alive_SF.roll(-shift, 0)
    with torch.no_grad():
        cosine_SMF = torch.bmm(own_SMD, other_SFD.mT)
        best_SM = cosine_SMF.masked_fill(~other_SF.unsqueeze(1), -torch.inf).argmax(2)
        counts_SM = own_SM & other_SF.any(1, keepdim=True)
    places_S1 = torch.arange(len(W_dec_SFD), device=W_dec_SFD.device).unsqueeze(1)
    missing_SM = 1.0 - (own_SMD * other_SFD[places_S1, best_SM]).sum(2)
    return missing_SM.where(counts_SM, 0.0).sum(1) / counts_SM.sum(1).clamp_min(1)


def orthogonality_loss(W_dec_SFD: Tensor, rows_M: Tensor) -> Tensor:
    """Return, per seed [S], the sum of squared cosines of a row with all others, mean over M rows."""
    cosines_SMF = torch.bmm(W_dec_SFD[:, rows_M], W_dec_SFD.mT)
    self_SM = W_dec_SFD[:, rows_M].square().sum(2)
    loss_S: Tensor = (cosines_SMF.square().sum(2) - self_SM.square()).mean(1)
    return loss_S
