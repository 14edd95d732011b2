"""The Compare screen, by its keys."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from textual.color import Color
from textual.containers import VerticalScroll
from textual.geometry import Region
from textual.pilot import Pilot
from textual.widgets import Label

import husai_tui.app
from engine.client.look import Snapshot
from engine.disk.root import RunsRoot
from husai_tui.app import HusaiApp
from husai_tui.keys import Where
from husai_tui.screens.compare import Compare
from husai_tui.screens.dialogs import Reading
from husai_tui.session import Session
from husai_tui.settings import Memory, Settings
from husai_tui.state.compare import Cohorts
from husai_tui.themes import DARK, LIGHT
from husai_tui.widgets.bars import Bar
from husai_tui.widgets.heatmap import Heatmap, eight_bit, ramp
from husai_tui.widgets.statement import Statement
from husai_tui.widgets.table import Table

SUMMARY = Path(__file__).parent / "summary.json"
TOPK, RELU, DRAWN = "topk 8 k2", "relu 8 l1 0.1", "topk 8 k2 consistency 0.1"


class StillWatcher:
    """A queue that says what a test lets it say."""

    def __init__(self, *jobs: dict[str, Any]) -> None:
        self.last = Snapshot(jobs=jobs, studies=({"name": "later"},), taken=100.0)

    def look(self) -> Snapshot:
        return self.last


class Noting(HusaiApp):
    """The app, which notes where it is sent."""

    CSS_PATH = str(Path(husai_tui.app.__file__).parent / "husai.tcss")
    sent: tuple[str, str] = ("", "")

    def go(self, name: Where, target: str = "") -> None:
        if name == "features":
            self.sent = (name, target)
        else:
            super().go(name, target)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    runs = tmp_path / "runs"
    for age, name in enumerate(("tiny", "older")):
        path = runs / name / "report" / "summary.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({**json.loads(SUMMARY.read_text()), "study": name}))
        os.utime(path, (1000 - age, 1000 - age))
    (runs / "later").mkdir()
    made = Session(
        RunsRoot(runs),
        settings=Settings(refresh=60, theme="husai-dark"),
        memory=Memory(),
        folder=tmp_path / "config",
    )
    job = {"study": "later", "name": "subject", "directory": "subject-1", "state": "running",
           "kind": "subject", "steps": 0, "step": None, "failure": "", "reason": "", "attempt": 1,
           "priority": 0, "started": 1.0, "ended": None, "seconds": None}  # fmt: skip
    made.watcher = StillWatcher(job)  # type: ignore[assignment]
    return made


@asynccontextmanager
async def opened(
    session: Session, target: str = "", size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[Pilot[None], Compare]]:
    app = Noting(session, view="compare", target=target, start=False)
    async with app.run_test(size=size, notifications=True) as pilot:
        await settled(pilot)
        view = app.view("compare")
        assert isinstance(view, Compare)
        yield pilot, view


async def settled(pilot: Pilot[None]) -> None:
    await pilot.pause()
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


async def press(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await settled(pilot)


def table_text(view: Compare) -> str:
    table = view.query_one(Table)
    return "\n".join(table.render_line(y).text.rstrip() for y in range(table.size.height))


def matrix(view: Compare) -> list[str]:
    heat = view.query_one(Heatmap)
    return [heat.render_line(y).text.rstrip() for y in range(heat.size.height)]


def said(view: Compare) -> str:
    return view.query_one(Statement).text


def cohorts_of(view: Compare) -> Cohorts:
    rows = view.query_one(Table).rows
    assert isinstance(rows, Cohorts)
    return rows


async def test_the_newest_study_is_shown_with_its_subject(session: Session) -> None:
    async with opened(session) as (_, view):
        subject = view.query_one("#subject", Bar).text
        assert subject.startswith("tiny  ✗ gates failed: G2 fourier")
        assert subject.endswith("1/3")
        assert "topk 8 k2" in table_text(view)
        assert "├●" in table_text(view) or "●┤" in table_text(view)
        assert "moderate" in table_text(view)
        assert view.target == f"tiny/{TOPK}"
        assert view.command.startswith("husai-engine report tiny --runs ")


async def test_the_matrix_stands_beside_its_null_with_its_values(session: Session) -> None:
    async with opened(session) as (_, view):
        lines = matrix(view)
        assert lines[0].split() == ["observed", "chance:", "N3", ".500"]
        assert lines[2].split() == ["1", "·", ".700", ".750", "1", "·", ".500", ".500"]
        assert lines[4].split() == ["333", ".750", ".800", "·", "333", ".500", ".500", "·"]
        assert "▲" in lines[6]
        assert "●" in lines[6]
        heat = view.query_one(Heatmap)
        row = [(s.text.strip(), s.style) for s in heat.render_line(2) if s.text.strip(" ·")]
        grounds = {text: style.bgcolor for text, style in row if style and text.startswith(".")}
        bright = {text: Color.from_rich_color(color).brightness for text, color in grounds.items()}
        assert bright[".750"] > bright[".700"] > bright[".500"]


async def test_a_null_with_a_value_for_each_pair_shows_them(session: Session) -> None:
    path = session.root.report("tiny") / "summary.json"
    summary = json.loads(path.read_text())
    for cell in summary["cohorts"][0]["stability"]["mean_max_cos"].values():
        cell["null_pairs"] = [[None, 0.48, 0.5], [0.48, None, 0.52], [0.5, 0.52, None]]
    path.write_text(json.dumps(summary))
    async with opened(session) as (_, view):
        lines = matrix(view)
        assert lines[0].split() == ["observed", "chance:", "N3", ".500"]
        assert lines[2].split() == ["1", "·", ".700", ".750", "1", "·", ".480", ".500"]
        assert lines[4].split() == ["333", ".750", ".800", "·", "333", ".500", ".520", "·"]


async def test_moving_shows_the_evidence_of_another_cohort(session: Session) -> None:
    async with opened(session) as (pilot, view):
        assert "All 3 pairs" in said(view)
        await press(pilot, "j")
        assert "1 of the 3 pairs of seeds lie above the null" in said(view)
        assert view.row_text().startswith(f"tiny/{RELU}: chance")
        assert RELU in view.query_one("#about", Bar).text


async def test_metric_and_subset_are_changed(session: Session) -> None:
    async with opened(session) as (pilot, view):
        await press(pilot, "u")
        assert "mean max cosine of all features" in view.query_one("#about", Bar).text
        assert "weak" in table_text(view)
        await press(pilot, "m")
        assert "shared fraction (cos ≥ .7)" in view.query_one("#about", Bar).text
        await press(pilot, "G")
        assert not view.query_one(Heatmap).display
        assert "was not measured here" in said(view)


async def test_a_baseline_is_pinned_compared_and_remembered(session: Session) -> None:
    async with opened(session) as (pilot, view):
        await press(pilot, "d")
        assert not cohorts_of(view).delta
        await press(pilot, "P", "d")
        assert "◆ topk 8 k2" in table_text(view)
        assert "Δκ" in table_text(view)
        assert "apart" in table_text(view)
        await press(pilot, "j")
        assert f"Against {TOPK}: κ −.500" in said(view).replace("\n", " ")
        await press(pilot, "escape")
        assert "Δκ" not in table_text(view)
        kept = view.remember()
    session.memory.views["compare"] = json.loads(json.dumps(kept))
    async with opened(session) as (pilot, view):
        assert cohorts_of(view).pinned == TOPK
        assert view.target == f"tiny/{RELU}"
        await press(pilot, "k", "P")
        assert cohorts_of(view).pinned == ""


async def test_warnings_and_evidence_are_one_key_away(session: Session) -> None:
    async with opened(session) as (pilot, view):
        for key in ("w", "x", "a", "i"):
            await press(pilot, key)
            assert isinstance(pilot.app.screen, Reading)
            await press(pilot, "escape")
        assert view.describe().startswith("tiny: 3 cohorts")


async def test_a_page_longer_than_the_window_keeps_its_title_and_the_way_out(
    session: Session,
) -> None:
    async with opened(session) as (pilot, _):
        await press(pilot, "i")
        for size in ((80, 24), (60, 15), (120, 40)):
            await pilot.resize_terminal(*size)
            await settled(pilot)
            page = pilot.app.screen
            title, hint = page.query_one("#title", Label), page.query_one("#hint", Label)
            assert str(title.render()) == "What the numbers mean"
            assert str(hint.render()).startswith("esc leaves")
            text = page.query_one(VerticalScroll)
            assert 0 < title.region.y < text.region.y
            assert text.region.bottom < hint.region.y < size[1]


async def test_a_table_longer_than_its_room_says_how_many_cohorts_there_are(
    session: Session,
) -> None:
    path = session.root.report("tiny") / "summary.json"
    summary = json.loads(path.read_text())
    first = summary["cohorts"][0]
    summary["cohorts"] += [{**first, "title": f"topk {n} k2"} for n in range(20, 29)]
    path.write_text(json.dumps(summary))
    async with opened(session, "tiny") as (pilot, view):
        more, table = view.query_one("#more", Bar), view.query_one(Table)
        seen = table.size.height - 1
        assert seen < 12
        assert more.render_line(0).text.strip().startswith(f"↕ {seen} of 12 cohorts in sight")
        await press(pilot, "z")
        assert not more.render_line(0).text.strip(), "the table is out of sight as a whole"
        await press(pilot, "z")
        await pilot.resize_terminal(120, 60)
        await settled(pilot)
        assert table.size.height == 13
        assert not more.render_line(0).text.strip()


async def test_studies_are_walked_and_an_unfinished_one_says_so(session: Session) -> None:
    async with opened(session) as (pilot, view):
        await press(pilot, "c")
        assert view.target == f"older/{TOPK}"
        await press(pilot, "c")
        assert view.target == "later"
        assert said(view).startswith("later  has no report yet\n0 of 1 jobs done   ● 1 running")
        assert not view.query_one(Table).display
        assert view.exported() is None
        assert "no report yet" in view.describe()
        for key in ("m", "u", "P", "d", "w", "x", "z", "escape"):
            await press(pilot, key)
        await press(pilot, "i")
        assert isinstance(pilot.app.screen, Reading), "the guide needs no study"
        await press(pilot, "escape")
        await press(pilot, "C")
        await press(pilot, "C")
        assert view.query_one(Table).display
        assert view.target.startswith("tiny/")


async def test_an_address_brings_a_cohort_back_and_enter_its_features(session: Session) -> None:
    async with opened(session, f"older/{RELU}") as (pilot, view):
        assert view.target == f"older/{RELU}"
        await press(pilot, "enter")
        assert isinstance(pilot.app, Noting)
        assert pilot.app.sent == ("features", f"older/{RELU}")
        view.open("tiny/no such cohort")
        view.husai.look()
        await settled(pilot)
        assert any("no cohort" in str(toast.message) for toast in pilot.app._notifications)
        view.open("no-such-study")
        view.husai.look()
        await settled(pilot)
        assert any("no such study" in str(toast.message) for toast in pilot.app._notifications)
        assert view.target.startswith("tiny/")
        view.husai.look()
        await settled(pilot)
        assert view.target.startswith("tiny/")


async def test_rows_are_filtered_sorted_and_exported(session: Session) -> None:
    async with opened(session) as (pilot, view):
        await press(pilot, "slash", *"relu", "enter")
        assert TOPK not in table_text(view)
        exported = view.exported()
        assert exported is not None
        row = dict(zip(exported.columns, exported.rows[0], strict=True))
        assert (row["cohort"], row["kappa"], row["pairs"]) == (RELU, 0.0, [0.45, 0.5, 0.55])
        assert "relu" in exported.to_csv()
        assert json.loads(exported.to_json())["rows"][0]["null_name"] == "N3"
        await press(pilot, "escape")
        assert view.filter_text == ""
        await press(pilot, "s")
        assert cohorts_of(view).key(0) == RELU
        await press(pilot, "r")
        assert cohorts_of(view).key(0) == DRAWN
        view.set_filter("nothing at all")
        await settled(pilot)
        assert "no cohort matches" in table_text(view)
        assert not view.query_one(Heatmap).display


async def test_the_evidence_takes_all_the_room_and_gives_it_back(session: Session) -> None:
    async with opened(session) as (pilot, view):
        await press(pilot, "z")
        assert not view.query_one(Table).display
        assert "may be used" in said(view)
        await press(pilot, "m")
        assert "shared fraction" in view.query_one("#about", Bar).text
        await press(pilot, "escape")
        assert view.query_one(Table).display
        assert view.query_one(Table).has_focus


async def test_what_is_torn_while_shown_is_told_and_the_rest_stays(session: Session) -> None:
    path = session.root.report("tiny") / "summary.json"
    async with opened(session) as (pilot, view):
        whole = path.read_text()
        path.write_text(whole[:500])
        view.husai.look()
        await settled(pilot)
        assert any("summary.json" in str(toast.message) for toast in pilot.app._notifications)
        assert "moderate" in table_text(view)
        shutil.rmtree(path.parent)
        view.husai.look()
        await settled(pilot)
        assert view.is_mounted
        path.parent.mkdir()
        path.write_text(whole)
        view.husai.look()
        await settled(pilot)
        assert "moderate" in table_text(view)


async def test_nothing_is_sent_while_nothing_changes(session: Session) -> None:
    async with opened(session, size=(200, 60)) as (pilot, view):
        view.husai.look()
        await settled(pilot)
        sent: list[object] = []
        for widget in (*view.query(Heatmap), *view.query(Statement), *view.query(Table)):

            def refresh(*regions: Region, widget: Any = widget, **_: bool) -> Any:
                sent.append((widget, regions))
                return widget

            widget.refresh = refresh
        view.husai.look()
        await settled(pilot)
        assert sent == []


@pytest.mark.parametrize("size", [(60, 15), (100, 30), (120, 40), (200, 60)])
async def test_it_fits_windows_of_all_sizes(session: Session, size: tuple[int, int]) -> None:
    async with opened(session, size=size) as (pilot, view):
        assert view.query_one(Statement).size.height >= 1
        assert "moderate" in table_text(view)
        shown = view.query_one(Heatmap).display
        assert shown == (size[1] > 15)
        if shown:
            assert "▲ N3 .500" in matrix(view)[-1]
            assert ".700" in "".join(matrix(view))
        assert "more alike than chance" in said(view).replace("\n", " ")
        await pilot.resize_terminal(80, 24)
        await settled(pilot)
        assert ".700" in "".join(matrix(view))


async def test_without_colours_figures_and_shades_say_the_same(session: Session) -> None:
    session.settings = Settings(refresh=60, theme="ansi-dark")
    async with opened(session) as (_, view):
        heat = view.query_one(Heatmap)
        assert heat.plain
        assert ".700" in matrix(view)[2]
        assert "░" in matrix(view)[5]
        assert "█" in matrix(view)[5]


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=lambda theme: theme.name)
def test_the_ramp_keeps_its_order_in_256_colours(theme: Any) -> None:
    ground, accent = Color.parse(theme.background), Color.parse(theme.accent)
    colors = ramp(ground.blend(accent, 0.12), accent)
    full = [Color.from_rich_color(color).brightness for color in colors]
    few = [Color(*eight_bit(color).get_truecolor()).brightness for color in colors]
    sign = 1 if theme.dark else -1
    assert all((b - a) * sign > 0 for a, b in pairwise(full))
    assert all((b - a) * sign >= 0 for a, b in pairwise(few))
    assert len(set(few)) >= 5


async def test_another_theme_has_its_own_ramp(session: Session) -> None:
    async with opened(session) as (pilot, view):

        def ground() -> object:
            line = view.query_one(Heatmap).render_line(2)
            return next(s.style.bgcolor for s in line if s.style and s.text.strip() == ".700")

        dark = ground()
        pilot.app.theme = LIGHT.name
        await settled(pilot)
        assert ground() not in (None, dark)
        pilot.app.theme = "ansi-dark"
        await settled(pilot)
        assert view.query_one(Heatmap).plain
