"""Memory and disk of jobs, from their sizes alone."""

from __future__ import annotations

from engine.study.sae import Sae

BASE_MEMORY = 450 << 20
"""Resident memory of a worker that has imported torch."""
SMALL_DISK = 3 << 20
"""Log, curves and what else a job leaves whatever its size."""


def parameters(sae: Sae, d_in: int) -> int:
    """Return the weights of one SAE: encoder, decoder and both biases."""
    return 2 * d_in * sae.d_sae + sae.d_sae + d_in


def cohort_memory(sae: Sae, d_in: int, seeds: int, batch: int, samples: int) -> int:
    """Return the memory of a cohort: weights, gradients, two moments; a batch of latents; the activations."""
    weights = 4 * seeds * parameters(sae, d_in) * 4
    return BASE_MEMORY + weights + 8 * seeds * batch * sae.d_sae + 8 * samples * d_in


def cohort_width(sae: Sae, d_in: int, batch: int, samples: int, budget: int) -> int:
    """Return how many seeds of a cohort fit into a budget of memory at once; 0 if not even one does."""
    fixed = cohort_memory(sae, d_in, 0, batch, samples)
    return max(0, (budget - fixed) // (cohort_memory(sae, d_in, 1, batch, samples) - fixed))


def analysis_memory(sae: Sae, samples: int) -> int:
    """Return the memory of an analysis: similarities of two dictionaries, latents of all activations."""
    return BASE_MEMORY + 24 * sae.d_sae**2 + 8 * samples * sae.d_sae


def reading_memory(samples: int, d_in: int) -> int:
    """Return the memory of a job that holds activations and what they are computed from."""
    return BASE_MEMORY + 16 * samples * max(d_in, 128)


def cohort_disk(sae: Sae, d_in: int, seeds: int) -> int:
    """Return the disk of a cohort: its weights once stacked and once seed by seed."""
    return (1 << 20) + 2 * 4 * seeds * parameters(sae, d_in)


def activations_disk(samples: int, d_in: int) -> int:
    """Return the disk of activations in single precision."""
    return (1 << 20) + 4 * samples * d_in
