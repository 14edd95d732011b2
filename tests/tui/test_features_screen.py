"""The Features screen by its keys, with studies and a microscope that are not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.client.look import Snapshot, Watcher
from engine.errors import CorruptArtifact
from husai_tui.app import HusaiApp
from husai_tui.screens.dialogs import Ask, Choose
from husai_tui.screens.features import Features
from husai_tui.session import open_session
from husai_tui.state.cohorts import Shelf
from husai_tui.widgets.bars import Bar
from husai_tui.widgets.closeup import CloseUp
from husai_tui.widgets.lines import Lines
from husai_tui.widgets.raster import Raster
from husai_tui.widgets.spectrum import Spectrum
from husai_tui.widgets.table import Table
from tests.tui.fake_features import TITLE, FakeMicroscope, FakeStudies, many, three

ADDRESS = f"tiny/{TITLE}"
Look = Callable[[], Snapshot]


class Scene:
    """The app on the Features screen."""

    def __init__(self, app: HusaiApp, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    @property
    def view(self) -> Features:
        view = self.app.view("features")
        assert isinstance(view, Features)
        return view

    @property
    def table(self) -> Table:
        return self.view.query_one(Table)

    @property
    def card(self) -> CloseUp:
        return self.view.query_one(CloseUp)

    def bar(self, name: str) -> str:
        return self.view.query_one(f"#{name}", Bar).text

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.settle()

    async def settle(self) -> None:
        """Wait until a look has been shown that began after what was done, and all cards have come."""
        quiet = 0
        for _ in range(200):
            await self.pilot.pause(0.01)
            await self.app.workers.wait_for_complete()
            busy = self.app._looking or self.card._fetching or not self.table.empty
            quiet = 0 if busy else quiet + 1
            if quiet == 3:
                return

    async def look(self) -> None:
        self.app.look()
        await self.settle()

    def line(self, y: int) -> str:
        return self.table.render_line(y).text.rstrip()


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch) -> FakeStudies:
    """Studies in place of those of a runs root."""
    fake = FakeStudies()
    monkeypatch.setattr(
        Features, "_make_shelf", lambda view: Shelf(view.session.root, fake.open, fake.cohorts)
    )

    def look(watcher: Watcher) -> Snapshot:
        names = tuple({"name": name} for name in fake.names)
        watcher.last = Snapshot(studies=names, taken=1.0)
        return watcher.last

    monkeypatch.setattr(Watcher, "look", look)
    return fake


@pytest.fixture
def microscope(monkeypatch: pytest.MonkeyPatch) -> FakeMicroscope:
    fake = FakeMicroscope()
    monkeypatch.setattr(Features, "_microscope", lambda _: fake)
    return fake


@asynccontextmanager
async def shown(
    tmp_path: Path, target: str = "", size: tuple[int, int] = (80, 24)
) -> AsyncIterator[Scene]:
    session = open_session(tmp_path / "runs", folder=tmp_path / "config")
    app = HusaiApp(session, view="features", target=target, start=False)
    async with app.run_test(size=size, notifications=True) as pilot:
        await pilot.pause()
        scene = Scene(app, pilot)
        await scene.settle()
        yield scene


pytestmark = pytest.mark.usefixtures("studies", "microscope")


async def test_the_newest_cohort_is_shown(tmp_path: Path) -> None:
    async with shown(tmp_path) as scene:
        assert scene.bar("cohort") == f"tiny / {TITLE}   3 seeds6 features"
        assert scene.line(0).split()[:5] == ["seed", "feature", "density", "match↓", "cosine"]
        assert scene.line(1).split()[:7] == ["7", "0", "25.00", "%", "live", "▮▮", ".85"]
        assert scene.bar("meaning") == "▮ found again: mutual best match, cosine ≥ .7   ▯ not"
        assert scene.view.address == f"features '{ADDRESS}'"
        assert scene.view.row_text() == f"{ADDRESS}#7:0"


async def test_no_study_says_how_to_make_one(tmp_path: Path, studies: FakeStudies) -> None:
    studies.names = []
    async with shown(tmp_path) as scene:
        assert "5 builds a sweep" in scene.line(2)
        assert "No features are shown" in scene.view.describe()
        assert scene.view.exported() is None
        assert scene.view.row_text() == ""
        await scene.press("enter", "s", "r", "c", "C", "m", "z", "left_square_bracket", "escape")
        assert scene.view.address == "features"


async def test_sorting(tmp_path: Path) -> None:
    async with shown(tmp_path) as scene:
        await scene.press("s")
        assert scene.table.sort is not None
        assert scene.view.remember()["sort"] == "cosine"
        await scene.press("r")
        assert scene.line(1).split()[:2] == ["9", "1"]
        await scene.press("S")
        assert scene.view.remember()["sort"] == "match"


async def test_the_filter_tells_what_is_wrong_while_it_is_typed(tmp_path: Path) -> None:
    async with shown(tmp_path) as scene:
        await scene.press("slash", *"liv")
        ask = scene.app.screen
        assert isinstance(ask, Ask)
        assert "live" in str(ask.query_one("#wrong").render())
        await scene.press("e")
        assert str(ask.query_one("#wrong").render()) == ""
        await scene.press("enter")
        assert scene.bar("cohort").endswith("/live  4 of 6 features")
        await scene.press("escape")
        assert scene.view.filter_text == ""
        await scene.press("slash", *"cos>2", "enter")
        assert "no feature matches the filter" in scene.line(2)
        assert scene.view.row_text() == ""


async def test_seeds_are_walked(tmp_path: Path) -> None:
    async with shown(tmp_path) as scene:
        await scene.press("right_square_bracket")
        assert "seed 7 of 3 seeds" in scene.bar("cohort")
        assert scene.view.target == f"{ADDRESS}#7"
        await scene.press("left_square_bracket", "left_square_bracket")
        assert "seed 9 of 3 seeds" in scene.bar("cohort")
        assert len(scene.table.rows) == 2


async def test_cohorts_are_walked_and_chosen(tmp_path: Path, studies: FakeStudies) -> None:
    studies.names = ["old", "tiny"]
    async with shown(tmp_path) as scene:
        await scene.press("c")
        assert scene.view.target == "tiny/relu 2"
        await scene.press("c")
        assert scene.view.target == ADDRESS
        await scene.press("C")
        assert isinstance(scene.app.screen, Choose)
        await scene.press("4")
        assert scene.view.target == "old/relu 2"
        await scene.press("C", "escape")
        assert scene.view.target == "old/relu 2"


async def test_a_study_of_one_cohort_says_so(tmp_path: Path, studies: FakeStudies) -> None:
    studies.titles = {TITLE: "done"}
    async with shown(tmp_path) as scene:
        await scene.press("c")
        assert "tiny has no other analysed cohort" in said(scene)


def said(scene: Scene) -> str:
    return "\n".join(str(one.message) for one in scene.app._notifications)


async def test_the_card_shows_what_the_table_knows_until_the_map_comes(
    tmp_path: Path, microscope: FakeMicroscope
) -> None:
    microscope.ready.clear()
    async with shown(tmp_path) as scene:
        await scene.pilot.press("enter")
        await scene.pilot.pause()
        assert scene.card.display
        assert not scene.table.display
        assert "k=23, 84 % of the variance" in scene.card.query_one("#facts", Lines).text
        assert "the map comes" in scene.card.query_one("#map", Raster).render_line(0).text
        microscope.ready.set()
        await scene.settle()
        assert "k=2 in a+b" in scene.card.query_one("#facts", Lines).text
        assert scene.card.query_one("#map", Raster).picture is not None
        assert "k=2 84 %" in text_of(scene.card.query_one(Spectrum))
        assert scene.bar("meaning").endswith("a↓ b→  5×5 dots for each pair")
        assert scene.bar("cohort") == f"tiny / {TITLE}   seed 7 · feature 01 of 6"
        assert scene.view.target == f"{ADDRESS}#7:0"
        exported = scene.view.exported()
        assert exported is not None
        assert (exported.name, len(exported.rows)) == ("feature-7-0", 25)
        await scene.press("escape")
        assert scene.table.display
        assert scene.table.has_focus


def text_of(widget: Any) -> str:
    return "\n".join(widget.render_line(y).text for y in range(widget.size.height))


async def test_walking_from_card_to_card(tmp_path: Path, microscope: FakeMicroscope) -> None:
    async with shown(tmp_path) as scene:
        await scene.press("enter", "j")
        assert scene.view.row_text() == f"{ADDRESS}#5:0"
        await scene.press("k", "k")
        assert scene.view.row_text() == f"{ADDRESS}#7:0", "the first row is the first"
        await scene.press("right_square_bracket")
        assert scene.view.row_text() == f"{ADDRESS}#5:0"
        await scene.press("left_square_bracket", "left_square_bracket")
        assert scene.view.row_text() == f"{ADDRESS}#9:0"
        assert microscope.asked == [(7, 0), (5, 0), (9, 0)], "what was seen is not asked for again"
        await scene.press("m")
        assert microscope.asked[-1] == (9, 0)
        await scene.press("escape")
        assert scene.table.cursor_key == "9:0"


async def test_far_from_card_to_card(tmp_path: Path) -> None:
    async with shown(tmp_path) as scene:
        await scene.press("enter", "G")
        assert scene.view.row_text() == f"{ADDRESS}#5:1"
        await scene.press("g")
        assert scene.view.row_text() == f"{ADDRESS}#7:0"
        await scene.press("ctrl+d")
        assert scene.view.row_text() == f"{ADDRESS}#5:1"
        await scene.press("ctrl+b", "down", "s", "h", "enter")
        assert scene.view.row_text() == f"{ADDRESS}#5:0"


async def test_a_seed_without_a_match_says_so(tmp_path: Path) -> None:
    async with shown(tmp_path, f"{ADDRESS}#5:1") as scene:
        await scene.press("right_square_bracket")
        assert scene.view.row_text() == f"{ADDRESS}#5:1"
        assert "seed 9 has no match" in said(scene)


async def test_a_card_that_the_filter_hides(tmp_path: Path) -> None:
    async with shown(tmp_path) as scene:
        await scene.press("slash", *"live", "enter")
        scene.app.go("features", f"{ADDRESS}#5:1")
        await scene.settle()
        assert scene.bar("cohort").endswith("hidden by the filter")
        await scene.press("j")
        assert scene.view.row_text() != f"{ADDRESS}#5:1"


async def test_the_smallest_window_shows_the_matches(tmp_path: Path) -> None:
    async with shown(tmp_path, size=(60, 15)) as scene:
        await scene.press("enter")
        facts = scene.card.query_one("#facts", Lines)
        assert "mutual" in facts.render_line(facts.size.height - 2).text
        assert not scene.card.query_one(Spectrum).display


@pytest.mark.parametrize("plain", [{"NO_COLOR": "1"}, {"theme": "ansi-dark"}])
async def test_without_colours_the_map_is_in_shades(
    tmp_path: Path, plain: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    theme = plain.pop("theme", "")
    for name, value in plain.items():
        monkeypatch.setenv(name, value)
    async with shown(tmp_path) as scene:
        if theme:
            scene.app.theme = theme
        await scene.press("enter")
        raster = scene.card.query_one("#map", Raster)
        assert not raster.in_colours
        drawn = set(text_of(raster))
        assert "█" in drawn
        assert drawn <= set(" ░▒▓█\n")


async def test_with_colours_two_dots_stand_in_a_character(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Raster, "in_colours", True)
    async with shown(tmp_path) as scene:
        await scene.press("enter")
        raster = scene.card.query_one("#map", Raster)
        # 5 × 5 pairs of 5 × 5 dots: the lower half of line 12 lies below the map.
        assert "▀" in raster.render_line(2).text
        colours = {segment.style.bgcolor for segment in raster.render_line(0) if segment.style}
        assert len(colours) == 2


async def test_the_map_takes_all_the_room(tmp_path: Path) -> None:
    async with shown(tmp_path) as scene:
        await scene.press("enter")
        before = scene.card.query_one("#map", Raster).size
        await scene.press("z")
        assert scene.card.query_one("#map", Raster).size.width > before.width
        assert not scene.card.query_one(Spectrum).display
        await scene.press("z")
        assert scene.card.query_one("#map", Raster).size == before


async def test_maps_of_the_matches_stand_side_by_side_where_there_is_room(
    tmp_path: Path, microscope: FakeMicroscope
) -> None:
    async with shown(tmp_path, size=(200, 60)) as scene:
        await scene.press("enter")
        await scene.settle()
        assert microscope.asked == [(7, 0), (5, 0), (9, 0)]
        shown_maps = [one for one in scene.card.query(".partner Raster") if one.region]
        assert len(shown_maps) == 2
        assert "▮ 5:0  .90" in scene.card.query_one("#partner-0 Lines", Lines).text
        await scene.app.run_action("view('runs')")
        await scene.pilot.resize_terminal(80, 24)
        await scene.app.run_action("view('features')")
        await scene.settle()
        assert not scene.card.query_one("#partners").display


async def test_a_map_that_does_not_come_is_told_in_one_line(
    tmp_path: Path, microscope: FakeMicroscope
) -> None:
    microscope.broken = "the microscope died twice: out of memory"
    async with shown(tmp_path) as scene:
        await scene.press("enter")
        assert scene.bar("meaning") == "no map: the microscope died twice: out of memory"
        assert scene.view.exported() is None
        assert "Feature 0 of seed 7" in scene.view.describe()
        microscope.broken = ""
        await scene.press("m")
        assert scene.card.query_one("#map", Raster).picture is not None


async def test_a_subject_without_a_grid_shows_how_often_it_fires_how_much(
    tmp_path: Path, studies: FakeStudies, microscope: FakeMicroscope
) -> None:
    studies.features, microscope.grid = three(), False
    async with shown(tmp_path) as scene:
        await scene.press("enter")
        assert not scene.card.query_one("#left").display
        assert "0 to 2.55" in text_of(scene.card.query_one(Spectrum))
        assert "largest activations, by row" in scene.card.query_one("#top", Lines).text


async def test_leaving_does_not_wait_for_the_microscope(
    tmp_path: Path, microscope: FakeMicroscope
) -> None:
    microscope.ready.clear()
    async with shown(tmp_path) as scene:
        await scene.pilot.press("enter")
        await scene.pilot.pause()
    await asyncio.wait_for(asyncio.to_thread(microscope.ready.wait), 5)
    assert microscope.closed


async def test_no_microscope_is_started_without_a_card(
    tmp_path: Path, microscope: FakeMicroscope
) -> None:
    async with shown(tmp_path) as scene:
        await scene.press("j", "k")
    assert microscope.asked == []


async def test_addresses_open_cards_and_seeds(tmp_path: Path) -> None:
    async with shown(tmp_path, f"{ADDRESS}#9:1") as scene:
        assert scene.card.display
        assert scene.view.row_text() == f"{ADDRESS}#9:1"
        scene.app.go("features", "tiny/relu 2#5")
        await scene.settle()
        assert not scene.card.display
        assert scene.view.target == "tiny/relu 2#5"
        scene.app.go("features", f"{ADDRESS}#8:0")
        await scene.settle()
        assert "seed: 8 is not there" in said(scene)
        scene.app.go("features", "tiny/none")
        await scene.settle()
        assert "no cohort 'none'" in scene.line(2)


async def test_a_torn_file_and_a_study_that_goes_leave_the_rows(
    tmp_path: Path, studies: FakeStudies
) -> None:
    async with shown(tmp_path) as scene:
        await scene.press("enter")
        studies.names = []
        await scene.look()
        assert scene.bar("meaning").startswith("shown is what was read before: tiny: no such study")
        assert scene.card.display
        await scene.press("escape")
        assert scene.line(1).split()[:2] == ["7", "0"]
        studies.names, studies.problem = ["tiny"], CorruptArtifact("features.parquet: torn")
        await scene.look()
        assert "features.parquet: torn" in scene.bar("meaning")
        assert "features.parquet: torn" in scene.view.describe()
        studies.problem = None


async def test_what_comes_back_at_the_next_start(tmp_path: Path) -> None:
    async with shown(tmp_path) as scene:
        await scene.press("c", "s", "r", "slash", *"live", "enter")
        scene.app.remember()
    async with shown(tmp_path) as scene:
        assert scene.view.target == "tiny/relu 2"
        assert scene.view.filter_text == "live"
        assert scene.view.remember()["sort"] == "cosine"
        assert scene.line(0).split()[4] == "cosine↑"
        assert len(scene.table.rows) == 4


async def test_what_was_remembered_may_be_of_any_shape(tmp_path: Path) -> None:
    async with shown(tmp_path) as scene:
        scene.view.recall({"study": None, "filter": 7, "sort": ["x"], "descending": "yes"})
        scene.view.recall({})
        await scene.look()
        assert scene.table.display


async def test_all_rows_are_exported(tmp_path: Path) -> None:
    async with shown(tmp_path) as scene:
        await scene.press("slash", *"live", "enter")
        exported = scene.view.exported()
        assert exported is not None
        assert len(exported.rows) == 4
        assert exported.to_csv().splitlines()[0].startswith("seed,feature,density,live")
        assert '"best_cosine"' in exported.to_json()
        assert exported.command.startswith(f"husai features '{ADDRESS}' --runs")


async def test_only_rows_in_sight_are_asked_for(tmp_path: Path, studies: FakeStudies) -> None:
    studies.features = many()
    async with shown(tmp_path) as scene:
        asked: list[int] = []
        real = scene.view._table.cells
        scene.view._table.cells = lambda row: asked.append(row) or real(row)  # type: ignore[method-assign,func-returns-value]
        await scene.press("G")
        assert scene.table.cursor == 99_999
        await scene.press("s")
        assert 0 < len(set(asked)) <= 4 * scene.table.size.height


async def test_nothing_is_sent_while_nothing_changes(tmp_path: Path) -> None:
    async with shown(tmp_path) as scene:
        await scene.press("enter")
        refreshed: list[object] = []
        for widget in scene.view.walk_children(with_self=True):
            widget.refresh = lambda *a, _w=widget, **k: refreshed.append(_w)  # type: ignore[attr-defined]
        await scene.look()
        await scene.look()
        assert refreshed == []
