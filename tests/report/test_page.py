from __future__ import annotations

import base64
import hashlib
import re
from copy import deepcopy
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

from engine.report.canvas import to_csv, to_svg
from engine.report.evidence import ladder_section
from engine.report.figures import draw_figures
from engine.report.illustrations import INLINE_CSV, Figures
from engine.report.markup import figure, table
from engine.report.opening import study_verdict
from engine.report.page import render_page
from engine.report.wording import headline
from engine.study.guide import CHAPTERS

Record = dict[str, Any]
VOID = frozenset({"meta", "link", "br", "img"})


class Outline(HTMLParser):
    """Collects the text, the ids and the references of a page, and whether its tags are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src"):
                self.references.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def page_of(summary: Record, material: Record | None = None) -> str:
    """Render a page with its figures, or without any where a test reads only the words."""
    if material is None:
        return render_page(summary, {})
    return render_page(summary, {d.name: to_svg(d.figure) for d in draw_figures(summary, material)})


def test_the_page_needs_no_network_and_its_links_lead_somewhere(
    summary: Record, material: Record
) -> None:
    page = page_of(summary, material)
    assert not re.search(r"https?:|//[a-z]|@import|<script |<link|fetch|import\(", page)
    found = outline(page)
    assert len(found.ids) == len(set(found.ids))
    inside = [r.removeprefix("#") for r in found.references if r.startswith("#")]
    assert set(inside) <= set(found.ids)
    beside = {r for r in found.references if not r.startswith("#")}
    names = [drawing.name for drawing in draw_figures(summary, material)]
    kinds = ("svg", "png", "csv")
    assert beside == {f"figures/{name}.{kind}" for name in names for kind in kinds}
    assert page.count("<svg") == 8
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(found.ids)


def test_the_verdict_stands_before_warnings_and_tables(summary: Record) -> None:
    text = outline(page_of(summary)).text
    order = [
        text.index(part)
        for part in ("no more alike than chance", "1 warning", "Observed:", "N1 activation")
    ]
    assert order == sorted(order)


def test_red_flags_of_the_training_are_told_with_their_steps(summary: Record) -> None:
    assert "while training" not in page_of(summary)
    passed = {"step": 1400, "name": "loss_rising", "message": "seed 7: the loss rises", "seed": 7}
    lasting = {"step": 2800, "name": "l0", "message": "seed 1: L0 is far", "seed": 1}
    flags = [{**passed, "holds": False}, {**lasting, "holds": True}]
    summary["cohorts"][1]["flags"] = flags
    page = page_of(summary)
    assert "2 red flags while training" in page
    assert '"n">1,400</td><td>seed 7: the loss rises</td><td>had passed</td>' in page
    assert '"n">2,800</td><td>seed 1: L0 is far</td><td>holds</td>' in page


def test_numbers_stay_with_what_they_belong_to(summary: Record) -> None:
    assert "κ\u00a0.01, 95\u00a0%\u00a0CI\u00a0−.01\u00a0to\u00a0.03, against\u00a0N3" in page_of(
        summary
    )


def test_the_whole_ladder_the_gates_and_the_baselines_are_there(summary: Record) -> None:
    page = page_of(summary)
    for name in (
        "N0 isotropic",
        "N1 activation covariance",
        "N2 decoder covariance",
        "N3 surrogate retrain",
    ):
        assert name in page
    assert "no: atoms leave the activations&#x27; subspace" in page
    assert "accuracy of a linear probe on the read token&#x27;s embedding: .0089" in page
    assert "probe_accuracy" not in page, "names of variables are said in words"
    assert "FVE of the key frequencies: .988" in page
    for baseline in ("neurons", "PCA", "random"):
        assert baseline in page
    assert "similarity .2989, expected .2988" in page
    assert "1.2 GB" in page


def test_methods_are_written_from_the_settings(summary: Record) -> None:
    summary["provenance"]["settings"]["training"]["lr"] = 0.000777
    summary["provenance"]["settings"]["subject"]["training"]["weight_decay"] = 1.25
    text = outline(page_of(summary)).text
    assert "learning rate 0.000777 after 50 warm-up steps" in text
    assert "weight decay 1.25" in text
    assert "Seeds 42, 123, 456, 789, 1011 vary init" in text
    summary["provenance"]["settings"] = {}
    assert "Methods" not in outline(page_of(summary)).text


def test_methods_tell_of_clipping_and_dead_latents(summary: Record) -> None:
    summary["provenance"]["settings"]["training"]["clip_norm"] = 1.0
    topk, relu = summary["cohorts"]
    dead = {
        "method": "auxk",
        "after_tokens": 25_000,
        "coefficient": 0.25,
        "every": None,
        "until": 0.5,
    }
    topk["settings"] = {"dead": dead}
    relu["settings"] = {"dead": {**dead, "method": "resample", "every": 200}}
    text = outline(page_of(summary)).text
    assert "gradients of a seed clipped to norm 1;" in text
    assert (
        "Latents that stay silent: AuxK with weight 0.25 after 25,000 inputs (topk 1024 k32)"
        in text
    )
    assert (
        "resampled every 200 steps until 50\u00a0% of the training after 25,000 inputs (relu"
        in text
    )
    relu["settings"] = topk["settings"]
    summary["provenance"]["settings"]["training"]["clip_norm"] = None
    text = outline(page_of(summary)).text
    assert "gradients as they are;" in text
    assert "silent: AuxK with weight 0.25 after 25,000 inputs. Quality" in text


def test_what_a_user_wrote_is_escaped(summary: Record, material: Record) -> None:
    evil = "<script>alert(1)</script>"
    summary["description"] = summary["study"] = evil
    summary["warnings"] = [evil]
    summary["provenance"]["settings"]["description"] = evil
    summary["cohorts"][0]["title"] = evil
    page = page_of(summary, material)
    assert page.count("<script") == 1, "ours"
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 5


def test_failed_gates_mark_every_section_with_results(fail_gates: Record, material: Record) -> None:
    page = page_of(fail_gates, material)
    assert page.count('<span class="mark">✗ gates failed: G1, G2</span>') == 5
    assert "failed: test accuracy .412 is below .99" in page
    assert "the test pairs never" in page
    assert "no verified structure" in page


def test_planted_data_missing_truth_and_two_seeds(planted: Record) -> None:
    text = outline(page_of(planted)).text
    assert "two seeds give no interval" in text
    assert "matched cosine" in text
    assert "Planted sparse data: 40,000 samples of width 32" in text
    assert "None" not in text
    for cohort in planted["cohorts"]:
        cohort["ground_truth"] = None
    assert 'id="truth"' not in page_of(planted)


def test_a_study_of_nothing_measurable_still_makes_a_page(
    summary: Record, material: Record
) -> None:
    for cohort in summary["cohorts"]:
        cohort.update(
            step_zero=None,
            ground_truth=None,
            quality=dict.fromkeys(cohort["quality"]),
            verdict="undetermined",
        )
        for subsets in cohort["stability"].values():
            for cell in subsets.values():
                cell.update(
                    dict.fromkeys(("observed", "null", "null_name", "kappa", "ci_low", "ci_high")),
                    nulls=[],
                )
    summary["subject"].update(
        dict.fromkeys(("fve", "train_accuracy", "test_accuracy", "steps", "seconds"))
    )
    summary["provenance"] = {}
    summary["timings"]["total_seconds"] = None
    text = outline(page_of(summary, material)).text
    assert "is open" in text
    assert not re.search(r"\b(nan|None)\b", text)


def test_one_script_may_run_and_nothing_else(summary: Record) -> None:
    page = page_of(summary)
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    assert f"script-src 'sha256-{digest}';" in policy[1]
    assert "unsafe" not in policy[1].replace("style-src 'unsafe-inline'", "")
    assert policy[1].startswith("default-src 'none'")


def test_the_page_opens_with_the_verdict_on_the_study_in_a_sentence(summary: Record) -> None:
    page = page_of(summary)
    heading = re.search(r"<h1>(.*?)</h1>", page)
    assert heading
    assert heading[1] == (
        "Across 5 seeds, the features of relu 1024 l1 0.001 are more alike than chance, but far from the same; "
        "those of topk 1024 k32 are no more alike than chance."
    )
    summary["cohorts"] = summary["cohorts"][:1]
    assert "<h1>The features of 5 seeds are no more alike than chance (κ" in page_of(summary)


def test_a_verdict_that_is_open_says_so_in_the_sentence(planted: Record) -> None:
    said = study_verdict(planted)
    assert said == (
        "Across 2 seeds, whether the features of topk 64 k4 and of topk 128 k4 are alike beyond chance is open."
    )


def test_the_contents_name_every_section_and_the_warnings(summary: Record) -> None:
    page = page_of(summary)
    contents = re.search(r'<nav aria-label="Contents">(.*?)</nav>', page, re.DOTALL)
    assert contents
    listed = re.findall(r'href="#([^"]+)"', contents[1])
    assert listed == ["warnings", *re.findall(r'<section id="([^"]+)"', page)]


def test_small_tables_of_numbers_travel_inside_the_page(summary: Record, material: Record) -> None:
    drawn = draw_figures(summary, material)
    svg = {d.name: to_svg(d.figure) for d in drawn}
    csv = {d.name: to_csv(d) for d in drawn}
    found = outline(render_page(summary, Figures(svg, csv)))
    inside = [r for r in found.references if r.startswith("data:text/csv")]
    assert unquote(inside[0].partition(",")[2]) == csv[drawn[0].name]
    large = [name for name, text in csv.items() if len(text) > INLINE_CSV]
    assert large
    assert all(f"figures/{name}.csv" in found.references for name in large)


def test_the_guide_and_what_would_change_the_verdict_are_told(summary: Record) -> None:
    text = outline(page_of(summary)).text
    for chapter in CHAPTERS:
        for term in chapter.terms:
            assert term.means in text
    assert "What would change the verdict" in text
    assert "No single seed decides it" in text


def test_methods_name_draws_thresholds_surrogate_and_precision(summary: Record) -> None:
    summary["provenance"]["settings"]["analysis"].update(surrogate_seed=77, tau=[0.4, 0.8])
    summary["provenance"]["environment"].update(precision="float32", deterministic=True)
    for cohort in summary["cohorts"]:
        for null in headline(cohort)["nulls"][:2]:
            null["draws"] = 37
    text = outline(page_of(summary)).text.replace("\u00a0", " ")
    assert "means over 20 to 37 draws where they are random" in text
    assert "Shared fractions count cosines of at least .4, .8." in text
    assert "mean and covariance (seed 77)" in text
    assert "cosines signed" in text
    assert "on cpu, float32 matrix products while training, deterministic kernels" in text
    summary["provenance"]["settings"]["analysis"]["surrogate"] = False
    assert "No surrogate was trained." in outline(page_of(summary)).text


def test_tables_of_sentences_name_their_cells_for_a_phone() -> None:
    html = table(("claim", ">κ", "because"), [("stable", ".01", "a < b")], texts=True)
    assert '<div class="texts">' in html
    assert '<th scope="row">stable</th>' in html
    assert '<td class="n" data-name="κ">.01</td><td data-name="because">a &lt; b</td>' in html
    assert "data-name" not in table(("claim", ">κ"), [("stable", ".01")])


def test_nulls_that_are_measured_on_the_headline_s_features_alone_say_so(summary: Record) -> None:
    cohort = summary["cohorts"][0]
    cells = cohort["stability"][cohort["headline"]["metric"]]
    other = "all" if cohort["headline"]["subset"] == "live" else "live"
    cells[other] = deepcopy(cells[cohort["headline"]["subset"]])
    null = cells[other]["nulls"][0]
    null |= {"value": None, "admissible": False, "reason": "they carry the headline"}
    said = f"Of {other} features, {null['name']}: they carry the headline."
    assert said in ladder_section(summary, cohort)
    null["value"] = 0.1
    assert said not in ladder_section(summary, cohort)


def test_kappa_below_zero_of_strict_shares_is_explained_beside_it(summary: Record) -> None:
    said = "upper bounds, so κ below 0 is to be expected here"
    assert said not in render_page(summary, {}), "no strict share was measured"
    for cohort in summary["cohorts"]:
        found = cohort["stability"]["matched_mcc"]
        cohort["stability"]["strict_shared_fraction@0.7"] = deepcopy(found)
    assert render_page(summary, {}).count(said) == len(summary["cohorts"])


def test_a_figure_broader_than_a_phone_says_that_it_goes_on() -> None:
    svg = '<svg viewBox="0 0 {} 100"><g/></svg>'
    assert '<div class="broad">' in figure(svg.format(480), "a", "A")
    assert '<div class="broad">' not in figure(svg.format(360), "a", "A")
