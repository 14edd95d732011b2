from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
from matplotlib.image import imread

from engine.report.gallery import gallery_section
from engine.report.illustrations import SHADES, Figures, map_images, to_png
from engine.report.page import render_page

Record = dict[str, Any]


def entry(group: str, feature: int, **changes: Any) -> Record:
    return {
        "group": group,
        "seed": 42,
        "feature": feature,
        "stability": 0.75,
        "median_best_cosine": 0.81,
        "density": 0.0312,
        "best_cosines": {"123": 0.9, "456": 0.8, "789": 0.82, "1011": 0.31},
        "partner": {"seed": 123, "feature": 7, "cosine": 0.9, "density": 0.02, "mutual": True},
        "responds_to": {"frequency": 11, "selectivity": 0.62, "family": "a-b", "eta2": 0.55},
        **changes,
    }


def with_gallery(summary: Record) -> Figures:
    entries = [entry("stable", 3), entry("unstable", 1001, stability=0.0, responds_to=None)]
    for cohort in summary["cohorts"]:
        cohort["gallery"] = entries
    maps = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4)
    return Figures({}, {}, [map_images({"maps": maps, "partner_maps": maps})])


def test_a_map_is_an_image_with_our_colours() -> None:
    levels = np.array([[0, 85], [170, 255], [0, 0]], dtype=np.uint8)
    image = imread(io.BytesIO(to_png(levels)))
    assert image.shape[:2] == (3, 2)
    found = [
        "#" + "".join(f"{round(255 * channel):02x}" for channel in image[y, x, :3])
        for y, x in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    assert tuple(found) == SHADES


def test_the_gallery_states_its_rule_and_shows_feature_and_match(summary: Record) -> None:
    html = gallery_section(summary, with_gallery(summary))
    assert html.count("Chosen by rule, not by hand: live features of the first seed (42)") == 1
    assert "the first 1 and the last 1" in html
    assert html.count("data:image/png;base64,") == 4, "the other cohort has no maps"
    assert "3 of 4 other seeds" in html
    assert "11 (selectivity .62)" in html
    assert "a−b (η² .55)" in html
    assert 'alt="Activation over (a, b) of its best match, seed 123, feature 7"' in html
    assert html.index("Most stable") < html.index("Least stable")
    page = render_page(summary, with_gallery(summary))
    assert "img-src data:" in page
    assert not re.search(r'<img src="(?!data:)', page)


def test_without_a_grid_the_gallery_says_so(summary: Record) -> None:
    with_gallery(summary)
    html = gallery_section(summary, Figures({}))
    assert "These inputs have no grid" in html
    assert "<img" not in html
    assert "median" in html


def test_a_match_that_is_not_mutual_or_never_fires_says_so(summary: Record) -> None:
    partner = {"seed": 123, "feature": 7, "cosine": 0.4, "density": 0.0, "mutual": False}
    summary["cohorts"][0]["gallery"] = [entry("stable", 3, partner=partner)]
    assert "feature 7, not mutual, never fires" in gallery_section(summary, Figures({}))


def test_without_a_gallery_or_in_a_crowd_there_is_none(summary: Record, sweep: Record) -> None:
    assert gallery_section(summary, Figures({})) == ""
    for cohort in sweep["cohorts"]:
        cohort["gallery"] = [entry("stable", 3)]
    assert gallery_section(sweep, Figures({})) == ""
