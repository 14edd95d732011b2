"""Memory and disk of jobs, from their sizes alone."""

from __future__ import annotations

from dataclasses import dataclass

from engine.study.sae import BatchTopK, Gated, JumpReLU, Matryoshka, ReLU, Sae, TopK

BASE_MEMORY = 450 << 20
"""Resident memory of a worker that has imported torch and done a first step (335 MB were measured)."""
SMALL_DISK = 3 << 20
"""Log, curves and what else a job leaves whatever its size."""

# What follows was fitted to the peaks of resident memory of cohorts (torch 2.13, x86, one thread), which
# tests/study/test_sizes.py lists; the dense ways of an accelerator were measured on the CPU.
COPIES = 7
"""Weights, where they started, gradient, two moments, last good state; and what the allocator keeps."""
SAVED_COPIES = 4
"""What saving adds to them: SAEs in raw units, those that are kept, transposed encoders."""
PER_INPUT = 32
"""Bytes per seed, input and number of an activation: reconstruction, errors, gradients, sums in float64."""
PER_KEPT = 64
"""Bytes per latent kept of an input by the sparse kernels: value, gradient, places by input and by latent."""
CHUNK, SURROGATE_CHUNK = 1024, 65_536
"""Inputs that quality is measured on, and that a surrogate is drawn from, at once."""
MATCHED = 2048
"""Inputs that the latents of different seeds are matched on."""
START_FACTOR = 10
"""Latents at the start of a warm-up of k, in multiples of k, where the study does not say."""


def parameters(sae: Sae, d_in: int) -> int:
    """Return the weights of one SAE: encoder, decoder, both biases, and what its architecture adds."""
    extra = 0
    if isinstance(sae, Gated):
        extra = 2 * sae.d_sae  # magnitudes: a scale and a bias
    elif isinstance(sae, JumpReLU):
        extra = sae.d_sae  # thresholds
    elif isinstance(sae, (BatchTopK, Matryoshka)):
        extra = 1
    return 2 * d_in * sae.d_sae + sae.d_sae + d_in + extra


@dataclass(frozen=True)
class CohortSize:
    """What decides the memory of a cohort, beside how many seeds it has."""

    sae: Sae
    d_in: int
    batch: int
    samples: int
    device: str = "cpu"
    half: bool = False
    """Whether products run in bfloat16."""

    def memory(self, seeds: int) -> int:
        """Return the memory of so many seeds; of none: what no setting of the SAE changes."""
        data = 4 * self.samples * self.d_in
        drawn = 24 * min(self.samples, SURROGATE_CHUNK) * self.d_in  # chunks of it in float64
        work = self._once() + seeds * self._each() if seeds else 0
        return BASE_MEMORY + data + max(data + drawn, work)

    def width(self, budget: int) -> int:
        """Return how many seeds fit into a budget at once; 0 if not even one does."""
        if self.memory(0) > budget:
            return 0
        fixed = BASE_MEMORY + 4 * self.samples * self.d_in + self._once()
        return max(0, (budget - fixed) // self._each())

    def _each(self) -> int:
        """Return the bytes of one seed: its weights, and what training, measuring and saving take."""
        weights = 4 * parameters(self.sae, self.d_in)
        stability = self.sae.stability
        # Rows picked from the decoder for these losses, and their gradients.
        copies = COPIES + 2 * (stability.consistency > 0) + (stability.orthogonality > 0)
        latents = self.sae.d_sae
        rows = min(self.samples, CHUNK)
        training = self.batch * (latents * self._per_entry() + PER_INPUT * self.d_in)
        training += PER_KEPT * self.batch * self._kept() * self._sparse
        # The latents of a chunk, those of the one before, which are on, and how many, as integers.
        measuring = rows * (latents * (21 if isinstance(self.sae, Gated) else 18))
        measuring += rows * (PER_KEPT * self._kept() + PER_INPUT * self.d_in)
        if self._sparse:
            measuring += 4 * self.batch * latents  # the buffer of pre-activations stays
        if self.device == "cuda":
            training *= 1 + self._recorded()
        sampled = 12 * 256 * latents if copies > COPIES else 0
        # Many tensors of less than 32 MB leave holes in the heap that measuring finds too small.
        work = max(training, measuring) if self._sparse else training + measuring
        return copies * weights + sampled + max(work, SAVED_COPIES * weights)

    @property
    def _sparse(self) -> bool:
        """Whether the sparse kernels are used: on the CPU, in float32, where the number of latents is given."""
        k_sparse = isinstance(self.sae, (TopK, BatchTopK, Matryoshka))
        return k_sparse and self._by_rows

    @property
    def _by_rows(self) -> bool:
        """Whether AuxK works on dead rows alone."""
        return self.device == "cpu" and not self.half

    def _kept(self) -> int:
        """Return the most latents that an input keeps; 0 where it is learnt, and nothing depends on it."""
        sae = self.sae
        if not isinstance(sae, (TopK, BatchTopK, Matryoshka)):
            return 0
        first = sae.k_start or min(START_FACTOR * sae.k, sae.d_sae)
        return max(sae.k, first if sae.k_warmup_steps else 0)

    def _per_entry(self) -> int:
        """Return the bytes of a training step per entry of the latents [seed, input, latent]."""
        sae, method = self.sae, self.sae.dead.method
        if self._sparse:
            return 5 + {"auxk": 2, "ghost": 17}.get(method, 0)
        if isinstance(sae, ReLU):
            entry = 29 if sae.p_anneal else 17
        elif isinstance(sae, Gated):
            entry = 30
        else:
            entry = (
                19  # JumpReLU, and the three with a given number of latents: a choice and a mask
            )
        revived = {"auxk": 2 if self._by_rows else 10, "ghost": 10}.get(method, 0)
        return entry + revived + 8 * self.half  # operands in half precision beside those in full

    def _once(self) -> int:
        """Return the bytes of what is done seed by seed: choosing latents, AuxK where half of them are dead."""
        auxk = self.sae.dead.method == "auxk" and self._by_rows
        return self.batch * self.sae.d_sae * (13 if auxk else 9 if self._sparse else 0)

    def _recorded(self) -> int:
        """Return how many kinds of steps CUDA graphs keep memory for: with and without dead latents, and
        one for each p of an annealed norm."""
        anneal = self.sae.p_anneal if isinstance(self.sae, ReLU) else None
        return 2 + (anneal.updates if anneal else 0)


def analysis_memory(sae: Sae, samples: int, seeds: int, threads: int = 1) -> int:
    """Return the memory of an analysis: for every thread similarities of two dictionaries, matched; latents of
    one seed for all activations, once more in another order, and what is computed from them beside; latents of
    all seeds for those that they are matched on, six copies."""
    matched = 24 * min(samples, MATCHED) * sae.d_sae * seeds
    at_once = min(threads, seeds)
    return BASE_MEMORY + at_once * 28 * sae.d_sae**2 + 16 * samples * sae.d_sae + matched


def reading_memory(samples: int, d_in: int) -> int:
    """Return the memory of a job that holds activations and what they are computed from."""
    return BASE_MEMORY + 16 * samples * max(d_in, 128)


PIECE = 1 << 24
"""Bytes of recorded activations that are read at once."""
LOOKED = 1 << 26
"""Latents of one seed of recorded activations that are looked at one by one, at most."""
MOMENTS = 65_536
"""Activations whose share of the covariance is computed at once, in float64."""


def streaming_memory(samples: int, d_in: int) -> int:
    """Return the memory of a job that reads recorded activations piece by piece: a few copies of a piece, a
    number for each input, covariances, and the inputs that are in double precision at once."""
    return BASE_MEMORY + 8 * PIECE + 40 * samples + 24 * d_in * (d_in + min(samples, MOMENTS))


def looked_rows(d_sae: int) -> int:
    """Return on how many recorded activations the latents of a seed are looked at one by one."""
    return max(2 * MATCHED, LOOKED // d_sae)


def cohort_disk(sae: Sae, d_in: int, seeds: int) -> int:
    """Return the disk of a cohort: its weights once stacked and once seed by seed."""
    return (1 << 20) + 2 * 4 * seeds * parameters(sae, d_in)


def activations_disk(samples: int, d_in: int) -> int:
    """Return the disk of activations in single precision."""
    return (1 << 20) + 4 * samples * d_in
