"""The interpretation guide: what each number means and what not to make of it. One source for report and app.

Formulas and their sources: science.md §2, §5; what the metrics' code does is documented there.
"""

from __future__ import annotations

from dataclasses import dataclass

WEAK_BELOW, MODERATE_BELOW = 0.2, 0.6
"""κ below which agreement beyond chance is called weak, and moderate (a convention of this project)."""
LEAST_OF_A_KIND = 10
"""True features, and others, over all seeds, from which truth and stability are correlated: with fewer, one
feature decides more than a tenth of what ρ says."""


@dataclass(frozen=True)
class Term:
    """A word or number of the results."""

    name: str
    means: str
    """What it is, in a sentence or two."""
    beware: str = ""
    """What it does not say; may be empty."""


@dataclass(frozen=True)
class Chapter:
    """Terms that belong together."""

    title: str
    terms: tuple[Term, ...]


AGREEMENT = Chapter(
    "Agreement of the seeds",
    (
        Term(
            "observed",
            "The similarity of two seeds' features, averaged over all pairs of seeds.",
            "By itself it means nothing: with more features, fewer dimensions or activations of low rank, "
            "chance alone scores higher.",
        ),
        Term(
            "null",
            "What the same measure scores where there is nothing to find. N0: random directions. N1, N2: "
            "directions drawn with the covariance of the activations, or of the decoders. N3: the same SAEs, "
            "with the same seeds, trained on Gaussian data of the same mean and covariance. N4: SAEs of an "
            "untrained model. N6: every true plane turned by a random angle, what lies outside drawn as in N2.",
            "κ is taken against the largest null that is admissible. One whose directions do not lie where "
            "the features lie is not, and is struck out with its reason.",
        ),
        Term(
            "κ",
            "(observed − null) / (1 − null): the share of the room above chance that the seeds fill. 0 is "
            "chance, 1 the same features in every seed, below 0 less alike than chance. It can be compared "
            "across sizes, which raw similarities cannot.",
            "κ is as good as its null: a null that is too small makes chance look like agreement.",
        ),
        Term(
            "95 % CI",
            "Where κ would lie with other seeds of the same kind: a jackknife that leaves out one seed at a "
            "time, because pairs that share a seed are not independent. It takes three seeds; five are "
            "recommended.",
            "It covers other seeds, not other data, other models or other settings.",
        ),
        Term(
            "verdict",
            f"Chance: the interval of κ reaches 0 or lies below. Otherwise weak below κ {WEAK_BELOW:g}, "
            f"moderate below {MODERATE_BELOW:g}, strong from there on. Undetermined: there is no interval, or "
            "an SAE did not train.",
            "The words are a convention; κ and its interval are the result.",
        ),
        Term(
            "mean max cosine",
            "For each feature the largest cosine with any feature of the other seed, averaged, both ways. Many "
            "features may choose the same partner.",
        ),
        Term(
            "matched cosine",
            "The same with partners one to one, chosen to make the sum largest (Hungarian assignment); the "
            "literature's MCC.",
        ),
        Term(
            "shared fraction",
            "The share of features that are each other's nearest neighbour with a cosine of at least the "
            "threshold named.",
            "A threshold does not keep chance out: see the last chapter.",
        ),
        Term(
            "strictly shared",
            "The rule of Paulo and Belrose: the best one-to-one matchings of the decoders and of the encoders "
            "both choose the pair, and both cosines reach the threshold.",
            "Its nulls take the encoders for tied to the decoders, an upper bound of what chance gives: κ "
            "below 0 is to be expected and does not say that seeds avoid each other's features.",
        ),
        Term(
            "stability of a feature",
            "The share of other seeds that have it: a mutual nearest neighbour with cosine ≥ .7. Compare with "
            "the surrogate's features, of which some are “stable” too.",
        ),
        Term(
            "live, all",
            "Live features fire often enough to be counted: at least 10 times and on one input in 10,000. "
            "Verdicts rest on live features where there are any, because dead ones never left their random "
            "start and dilute what is shared.",
        ),
    ),
)
QUALITY = Chapter(
    "Quality of the autoencoders",
    (
        Term(
            "EV",
            "Explained variance on activations held out of training: 1 is a perfect reconstruction, 0 as good "
            "as the mean.",
            "A high EV says that the activations are described, not that the features are real.",
        ),
        Term(
            "L0",
            "Features active per input, on average.",
            "Stability of SAEs with different L0 cannot be compared at face value.",
        ),
        Term(
            "dead",
            "The share of features that fire on none of the activations.",
        ),
        Term(
            "density",
            "The share of inputs on which a feature fires. Features that fire rarely are matched by fewer "
            "inputs and tend to be less stable.",
        ),
        Term(
            "loss recovered",
            "With the reconstruction spliced into the model: 1 if its loss is as with the real activations, 0 "
            "if it is as with their mean.",
            "Where an SAE that was never trained recovers as much, it says nothing; the report warns of that.",
        ),
    ),
)
TRUTH = Chapter(
    "Ground truth",
    (
        Term(
            "recall",
            "The share of true features that were found. For Fourier planes: several features must span the "
            "plane with positive weights.",
            "Low recall of planes need not be a fault: they are active on every input, and sparse codes prefer "
            "features that are rarely active.",
        ),
        Term(
            "precision", "The share of live features that are a true one, or lie in one true plane."
        ),
        Term(
            "neurons, PCA, random",
            "The same scores for directions that need no SAE. What these reach is no success of an SAE.",
        ),
        Term(
            "selectivity, η²",
            "Over the grid of pairs (a, b): the share of a feature's variance that one frequency explains, and "
            "that one argument (a, b, a + b, a − b) explains.",
            "A perfect rectified cosine has a selectivity of .841, not 1.",
        ),
        Term(
            "ρ of truth and stability",
            "Spearman's rank correlation over live features: whether those that are true are the ones that "
            f"other seeds have. It takes at least {LEAST_OF_A_KIND} true features and {LEAST_OF_A_KIND} others "
            "over all seeds, and as many that differ in stability.",
            "With fewer, a single feature decides more than a tenth of it, so no number is given. True: "
            "in-plane energy or cosine from .9 on; selectivity knows no such cut and is a degree.",
        ),
        Term(
            "gates",
            "Checks that the model computes the answer and has a known structure (no leakage, grokked, "
            "Fourier, losses). When one fails, nothing below is evidence about a model that computes.",
        ),
        Term(
            "FVE",
            "The share of the logits' variance that the key frequencies explain. Of all frequencies together "
            "it is 1 for a table of the answers, and so says nothing.",
        ),
    ),
)
THRESHOLDS = Chapter(
    "The thresholds .3 and .7",
    (
        Term(
            "about .3",
            "Was reported as the agreement of seeds. It is chance: among 1,024 random directions in 128 "
            "dimensions the largest |cosine| with a given one is .2988 on average.",
            "With 64 features it is .2275, in 512 dimensions .1514: a fixed number is no baseline.",
        ),
        Term(
            ".7",
            "Counts as “the same feature” since Paulo and Belrose. With 1,024 features in 128 dimensions "
            "chance almost never passes it; where the activations have an effective rank of 20, a third of all "
            "features pass it by chance, and at rank 10 every one.",
            "No verdict here rests on a fixed threshold: shared fractions have their null at the same one.",
        ),
    ),
)
CHAPTERS = (AGREEMENT, QUALITY, TRUTH, THRESHOLDS)
