from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from engine.report.canvas import to_svg
from engine.report.figures import draw_figures
from engine.report.page import render_page

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
    assert not re.search(r"https?:|//[a-z]|@import|<script|<link", page)
    found = outline(page)
    assert len(found.ids) == len(set(found.ids))
    assert all(reference.removeprefix("#") in found.ids for reference in found.references)
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
    assert "probe_accuracy 0.0089" in page
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
    assert "<script" not in page
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
    assert "Ground truth" not in outline(page_of(planted)).text


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
