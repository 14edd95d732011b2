"""Differences, trends and claims in words: told with an interval, or refused with a reason."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from engine.report.claims import CLAIMS, SOURCES, examine
from engine.report.comparisons import comparisons
from engine.report.contrasts import kappa_change, probability, reversed_change
from engine.report.page import render_page
from engine.report.tables import summary_tables
from engine.report.trends import ends_text, trend_sentence

Record = dict[str, Any]
TOPK, RELU = "topk 1024 k32", "relu 1024 l1 0.001"


def contrast(**changes: Any) -> Record:
    """Return a contrast of TopK and ReLU in which ReLU agrees more by .2."""
    both = {"baseline": 0.1, "variant": 0.3, "difference": 0.2}
    return {
        "kind": "cohorts", "baseline": TOPK, "variant": RELU, "hook": "h", "objective": "",
        "metric": "mean_max_cos", "subset": "live", "matched_on": None, "at": None,
        "l0": {"baseline": 32.0, "variant": 33.0}, "n_live": {"baseline": 900, "variant": 920},
        "explained_variance": {"baseline": 0.99, "variant": 0.98, "difference": -0.01},
        "observed": {"baseline": 0.4, "variant": 0.5, "difference": None},
        "null": {"baseline": 0.3, "variant": 0.3, "baseline_name": "N3", "variant_name": "N3"},
        "kappa": {**both, "baseline_interval": [0.05, 0.15], "variant_interval": [0.25, 0.35]},
        "seeds": [1, 2, 3, 4, 5], "interval": [0.1, 0.3], "se": 0.04,
        "bootstrap": {"low": 0.12, "high": 0.28, "draws": 2000},
        "p": 0.0625, "p_smallest": 0.0625, "relabellings": 31, "p_reason": "", "holm": 0.0625,
        "p_jackknife": 0.0004, "holm_jackknife": 0.0004, "tolerance": 0.05,
        "refusals": [], "marks": [], "finding": "higher",
    } | changes  # fmt: skip


def refused(*reasons: str) -> Record:
    one = contrast(refusals=list(reasons), interval=None, p=None, holm=None, finding="refused")
    one["kappa"]["difference"] = None
    return {**one, "bootstrap": None, "holm_jackknife": None}


def trend(**changes: Any) -> Record:
    return {
        "over": "d_sae", "name": "width", "line": "topk k 16", "hook": "h", "metric": "mean_max_cos",
        "subset": "live", "cohorts": ["a", "b", "c"], "x": [32, 64, 1024], "kappa": [0.4, 0.3, 0.1],
        "kappa_intervals": [[0.3, 0.5], [0.2, 0.4], [None, None]], "explained_variance": [0.9, 0.95, 0.99],
        "seeds": [1, 2, 3], "slope": -0.06, "interval": [-0.1, -0.02], "p": 0.01, "spearman": -1.0,
        "refusals": [], "marks": [], "direction": "falls",
    } | changes  # fmt: skip


def with_all(summary: Record, *contrasts: Record, trends: tuple[Record, ...] = ()) -> Record:
    found = copy.deepcopy(summary)
    found |= {"contrasts": list(contrasts), "trends": list(trends)}
    return {**found, "claims": examine(found)}


def terminal(summary: Record, width: int = 80) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False)
    for part in summary_tables(summary):
        console.print(part)
    return file.getvalue()


def test_a_change_has_its_interval_and_can_be_turned_round() -> None:
    assert kappa_change(contrast()) == "+.20 [.10, .30]"
    assert reversed_change(contrast()) == "−.20 [−.30, −.10]"
    assert kappa_change(refused("L0 1 against 2")) == "refused"
    assert kappa_change(contrast(interval=None)) == "+.20"


@pytest.mark.parametrize(
    ("p", "said"), [(None, "–"), (0.0004, "<.001"), (0.0625, ".0625"), (0.25, ".25"), (1.0, "1")]
)
def test_probabilities_keep_the_digits_that_matter(p: float | None, said: str) -> None:
    assert probability(p) == said


def test_page_and_terminal_tell_a_difference_with_all_its_tests(summary: Record) -> None:
    found = with_all(summary, contrast(marks=["over the 4 shared seeds of 5"]))
    page, text = render_page(found, {}), " ".join(terminal(found).split())
    for told in (page, text):
        assert "+.20 [.10, .30]" in told
        assert ".0625 (least .0625)" in told
        assert "agrees more" in told
    assert "[.120, .280]" in page
    assert "over the 4 shared seeds of 5" in page
    assert "&lt;.001, .0625" in page


def test_a_refused_difference_shows_both_sides_and_no_difference(summary: Record) -> None:
    found = with_all(summary, refused("L0 32.0 against 482", "live latents 739 against 1,024"))
    page, text = render_page(found, {}), " ".join(terminal(found).split())
    for told in (page, text):
        assert "L0 32.0 against 482; live latents 739 against 1,024" in told
        assert ".10 [.05, .15]" in told
        assert ".30 [.25, .35]" in told
        assert "+.20" not in told
    assert "Δκ refused" in text


def test_a_difference_is_open_where_the_interval_or_holm_does_not_hold(summary: Record) -> None:
    zero = contrast(interval=[-0.01, 0.3], finding="open")
    later = contrast(finding="open", holm_jackknife=0.2)
    text = " ".join(terminal(with_all(summary, zero, later)).split())
    assert "open: the interval holds 0" in text
    assert "open after Holm's correction" in text
    assert "agrees more" not in text


def test_trends_are_sentences_and_speak_of_a_direction_only_where_there_is_one() -> None:
    assert trend_sentence(trend()) == (
        "topk k 16, width 32 to 1,024: κ falls, −.06 [−.10, −.02] for each doubling (95 % joint interval "
        "over seeds)."
    )
    unsure = trend(direction="open", interval=[-0.1, 0.02])
    assert "whether κ rises or falls is open" in trend_sentence(unsure)
    narrow = trend(slope=None, interval=None, refusals=["L0 spans a factor of 1.1"])
    assert trend_sentence(narrow).endswith("because L0 spans a factor of 1.1.")


def test_a_trend_across_kinds_of_null_names_the_one_that_it_is_told_against(
    summary: Record,
) -> None:
    kinds = {"null_names": ["N3", "N6", "N6"], "against": "N3", "kappa_against": [0.4, 0.3, 0.1]}
    mixed = trend(**kinds)
    assert "against N3 at every point, as the largest nulls are of several kinds (N3, N6)" in (
        trend_sentence(mixed)
    )
    assert ends_text(mixed) == ".40 → .10", "of what the slope is of"
    html = comparisons(with_all(summary, trends=(mixed,))).replace("\u00a0", " ")
    assert "κ and its slope are taken against N3 at every point" in html
    assert "several kinds" not in trend_sentence(trend())


def test_the_page_has_trends_with_their_remarks(summary: Record) -> None:
    found = with_all(summary, trends=(trend(marks=["a is undertrained"]),))
    page = render_page(found, {})
    assert "−.06 [−.10, −.02]" in page
    assert "a is undertrained" in page
    assert ".40 → .10" in page
    assert "Trends" in terminal(found)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_terminal_is_legible_at_every_width(summary: Record, width: int) -> None:
    found = with_all(summary, contrast(), refused("L0 32.0 against 482"), trends=(trend(),))
    text = terminal(found, width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "…" not in text


def test_studies_with_neither_have_no_such_sections(summary: Record) -> None:
    page = render_page(summary, {})
    assert 'id="comparisons"' not in page
    assert 'id="claims"' not in page


def answers(summary: Record) -> dict[str, str]:
    return {one["key"]: one["says"] for one in examine(summary)["examined"]}


def test_claims_have_a_source_each_and_keys_of_their_own() -> None:
    assert len({claim.key for claim in CLAIMS}) == len(CLAIMS)
    assert {claim.source for claim in CLAIMS} <= set(SOURCES)


WAYS: dict[str, tuple[Record, tuple[str, str, str]]] = {
    "relu more": (contrast(), ("contradicts", "supports", "contradicts")),
    "topk more": (contrast(finding="lower"), ("contradicts", "contradicts", "supports")),
    "listed the other way": (
        contrast(baseline=RELU, variant=TOPK),
        ("contradicts", "contradicts", "supports"),
    ),
    "narrow around 0": (
        contrast(finding="open", interval=[-0.03, 0.04]),
        ("supports", "cannot tell", "cannot tell"),
    ),
    "wide around 0": (
        contrast(finding="open", interval=[-0.2, 0.3]),
        ("cannot tell", "cannot tell", "cannot tell"),
    ),
    "refused": (refused("L0 32 against 482"), ("cannot tell", "cannot tell", "cannot tell")),
}


@pytest.mark.parametrize("case", sorted(WAYS))
def test_topk_against_relu(summary: Record, case: str) -> None:
    one, said = WAYS[case]
    found = answers(with_all(summary, one))
    keys = ("topk-relu-equal", "relu-more-stable", "topk-more-stable")
    assert tuple(found[key] for key in keys) == said


def test_a_refusal_is_the_reason_why_nothing_can_be_told(summary: Record) -> None:
    found = with_all(summary, refused("L0 32.0 against 482"))
    because = {one["key"]: one["because"] for one in found["claims"]["examined"]}
    assert "refused: L0 32.0 against 482" in because["topk-relu-equal"]
    assert "relu 1024 l1 0.001 .30 [.25, .35]" in because["topk-relu-equal"]


@pytest.mark.parametrize(
    ("direction", "says"),
    [
        ("falls", "supports"),
        ("rises", "contradicts"),
        ("open", "cannot tell"),
        ("refused", "cannot tell"),
    ],
)
def test_width_and_k(summary: Record, direction: str, says: str) -> None:
    one = trend(direction=direction, refusals=["few"] if direction == "refused" else [])
    found = answers(with_all(summary, trends=(one, trend(over="l0", direction=direction))))
    relu = trend(over="l0", line="relu 128", direction=direction)
    assert "falls-with-k" not in answers(with_all(summary, trends=(relu,))), "ReLU has no k"
    assert (found["falls-with-width"], found["falls-with-k"]) == (says, says)
    longer = answers(with_all(summary, trends=(trend(over="training.epochs", direction="rises"),)))
    assert longer["rises-with-training"] == "supports"
    assert "falls-with-width" not in longer


def test_whether_kappa_includes_zero(summary: Record) -> None:
    # One cohort of two is at chance; of those that never left their start nothing is said.
    assert answers(summary)["no-convergence"] == "cannot tell"
    summary = copy.deepcopy(summary)
    summary["cohorts"][0]["quality"]["cosine_with_start"] = {"mean": 0.9}
    assert answers(summary)["no-convergence"] == "contradicts"
    summary["cohorts"][1]["quality"]["cosine_with_start"] = {"mean": 0.9}
    assert answers(summary)["no-convergence"] == "cannot tell"
    summary["cohorts"] = summary["cohorts"][:1]
    del summary["cohorts"][0]["quality"]["cosine_with_start"]
    assert answers(summary)["no-convergence"] == "supports"


def test_a_wide_interval_around_zero_supports_nothing(summary: Record) -> None:
    summary = copy.deepcopy(summary)
    summary["cohorts"] = summary["cohorts"][:1]
    cell = summary["cohorts"][0]["stability"]["mean_max_cos"]["live"]
    for wide in ({"ci_low": -0.4, "ci_high": 0.5}, {"ci_low": -0.4, "ci_high": 0.2}):
        cell.update(wide)
        assert answers(summary)["no-convergence"] == "cannot tell"


def test_recall_of_saes_that_did_not_learn_contradicts_nothing(summary: Record) -> None:
    near, powerless = copy.deepcopy(summary), copy.deepcopy(summary)
    for cohort in near["cohorts"]:
        cohort["quality"]["cosine_with_start"] = {"mean": 0.9}
    for cohort in powerless["cohorts"]:
        cohort["ground_truth"]["energy_null"] = {"powerless": True}
        cohort["ground_truth"]["recall"] = {"mean": 1.0, "sd": 0.0, "per_seed": [1.0] * 5}
    for left_out in (near, powerless):
        (one,) = (x for x in examine(left_out)["examined"] if x["key"] == "fourier-recovery")
        assert one["says"] == "cannot tell"
        assert "Left out of the answer: 2 cohorts near the start" in one["because"]


def test_the_thresholds_stand_beside_chance(summary: Record) -> None:
    (cut,) = (one for one in examine(summary)["examined"] if one["key"] == "cut-offs")
    # Null of the first cohort: (.487 − .01)/(1 − .01) = .482; of the second .534.
    assert cut["says"] == "contradicts"
    assert "the largest admissible null .482 to .534" in cut["because"]
    assert "random directions score .217 to .240" in cut["because"]
    assert "At .3: chance alone reaches it in 2 of 2 cohorts" in cut["because"]
    assert "At .7: chance stays .17 below it in 2 cohorts" in cut["because"]


def test_fourier_recovery_stands_beside_its_baselines(summary: Record) -> None:
    (one,) = (x for x in examine(summary)["examined"] if x["key"] == "fourier-recovery")
    # .125 ± 2.776 · .11/√5 lies below the .6 that was expected.
    assert one["says"] == "contradicts"
    assert "recall .12 [.00, .26], precision .32; relu" in one["because"]
    assert "Without an SAE: recall of neurons .50, PCA .00, random .00." in one["because"]
    summary = copy.deepcopy(summary)
    summary["subject"]["gates"]["gates"][2]["passed"] = False
    assert answers(summary)["fourier-recovery"] == "cannot tell"


def test_planted_planes_are_the_positive_control(summary: Record) -> None:
    summary = copy.deepcopy(summary)
    summary["subject"] = {"kind": "planted"}
    summary["provenance"]["settings"]["subject"] = {"generator": "fourier", "gate": 1.0}
    for cohort, gate, recall in zip(summary["cohorts"], (0.2, 1.0), (1.0, 0.0), strict=True):
        cohort["point"] = {"subject.gate": gate}
        cohort["ground_truth"]["recall"] = {"mean": recall, "sd": 0.0, "per_seed": [recall] * 5}
    assert answers(summary)["sparse-planes-alone"] == "supports"
    assert "fourier-recovery" not in answers(summary)
    unsure = {"mean": 0.92, "sd": 0.179, "per_seed": [0.6, 1.0, 1.0, 1.0, 1.0]}
    summary["cohorts"][0]["ground_truth"]["recall"] = unsure
    assert answers(summary)["sparse-planes-alone"] == "cannot tell"
    summary["cohorts"][0]["ground_truth"]["recall"] = {"mean": 0, "sd": 0.0, "per_seed": [0] * 5}
    assert answers(summary)["sparse-planes-alone"] == "contradicts"


def test_what_a_study_says_nothing_on_is_named(summary: Record) -> None:
    silent = examine(summary)["silent"]
    assert "stability against width (preset width-sweep)" in silent
    assert "TopK beside ReLU (preset matched)" in silent
    page = render_page({**summary, "claims": examine(summary)}, {})
    assert "This study has nothing on: TopK beside ReLU" in page
