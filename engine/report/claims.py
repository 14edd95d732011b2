"""What was claimed about the stability of SAE features, as data, and what a study says on it.

Every answer is derived from the summary: `supports`, `contradicts`, or `cannot tell`. Claims are put in our
own words; figures are those of the source named by its key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.report.answers import (
    Answer,
    beyond_chance,
    control,
    cutoffs,
    equal,
    ordered,
    recovery,
    sweep,
)
from engine.report.wording import Record

SOURCES = {
    "husai-2025": "HUSAI, summary of its phases 1 and 2 (3 November 2025)",
    "paulo-belrose-2025": "Paulo & Belrose, arXiv 2501.16615",
    "song-2025": "Song et al., arXiv 2505.20254",
    "husai-controls": "HUSAI's own planted experiments (2026)",
}
"""Citation key → where the claim was made."""


@dataclass(frozen=True)
class Claim:
    """Something that was claimed, who claimed it, and how a summary is asked about it."""

    key: str
    claim: str
    source: str
    """A key of SOURCES."""
    topic: str
    """What a study needs in order to speak to it, and a preset that has it."""
    ask: Callable[[Record], Answer | None]
    """None where the study has nothing on it."""


def examine(summary: Record) -> Record:
    """Return the claims that a summary speaks to, with its answers, and the topics it is silent on."""
    examined, silent = [], []
    for claim in CLAIMS:
        answer = claim.ask(summary)
        if answer is None:
            silent.append(claim.topic)
            continue
        examined.append(
            {
                "key": claim.key,
                "claim": claim.claim,
                "source_key": claim.source,
                "source": SOURCES[claim.source],
                "says": answer.says,
                "because": answer.because,
            }
        )
    return {"examined": examined, "silent": list(dict.fromkeys(silent))}


CLAIMS = (
    Claim(
        "topk-relu-equal",
        "TopK and ReLU features are equally unstable: PWMCC .302 and .300, at L0 32 and 427.",
        "husai-2025",
        "TopK beside ReLU (preset matched)",
        equal,
    ),
    Claim(
        "relu-more-stable",
        "ReLU SAEs share more features across seeds (above 90 % on GPT-2) than TopK SAEs (42 % on Pythia).",
        "paulo-belrose-2025",
        "TopK beside ReLU (preset matched)",
        ordered(relu_more=True),
    ),
    Claim(
        "topk-more-stable",
        "TopK SAEs are more consistent (PW-MCC .82) than standard ReLU SAEs (.47) on Pythia-160M.",
        "song-2025",
        "TopK beside ReLU (preset matched)",
        ordered(relu_more=False),
    ),
    Claim(
        "no-convergence",
        "Features do not converge across seeds.",
        "husai-2025",
        "agreement beyond chance",
        beyond_chance,
    ),
    Claim(
        "cut-offs",
        "A similarity of .3 is instability, .7 is high stability.",
        "husai-2025",
        "the thresholds .3 and .7",
        cutoffs,
    ),
    Claim(
        "fourier-recovery",
        "Good SAEs recover .6 to .8 of the Fourier structure (the project measured .26, which is that "
        "measure's chance value).",
        "husai-2025",
        "Fourier recovery (preset topk-vs-relu)",
        recovery,
    ),
    Claim(
        "sparse-planes-alone",
        "SAEs find Fourier planes that are on in few inputs, and none that are always on: sparse codes do not "
        "suit dense features.",
        "husai-controls",
        "the positive control (preset fourier-control)",
        control,
    ),
    Claim(
        "falls-with-width",
        "Seeds agree less the wider the SAE.",
        "paulo-belrose-2025",
        "stability against width (preset width-sweep)",
        sweep("d_sae", "falls"),
    ),
    Claim(
        "falls-with-k",
        "Seeds of TopK SAEs agree less the larger k is.",
        "paulo-belrose-2025",
        "stability against k (preset sparsity-sweep)",
        sweep("l0", "falls"),
    ),
    Claim(
        "rises-with-training",
        "Seeds agree more the longer the SAEs are trained.",
        "paulo-belrose-2025",
        "stability over training (preset training-dynamics)",
        sweep("training.epochs", "rises"),
    ),
)
"""In the order in which the report shows them."""
