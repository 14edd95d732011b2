"""The Run screen without a screen: which job, what is said of it, files that are damaged meanwhile."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.client.look import Snapshot
from engine.disk.root import RunsRoot
from husai_tui.state.curves import Curves
from husai_tui.state.facts import Facts, choose, find, neighbour, read_facts, sentence
from husai_tui.state.panels import Flag
from husai_tui.state.run import Follower, Loaded, Measurements, RunSheet
from tests.tui.curves import NAN, SEEDS, data, job, make_run, row


def follower(root: Path, directory: str = "cohort-a") -> Follower:
    return Follower(RunsRoot(root).run(directory), directory)


def sheet(loaded: Loaded, **more) -> RunSheet:
    made = RunSheet()
    made.update(job(**more), loaded, 100.0)
    return made


def text(made: RunSheet, width: int = 80, height: int = 22) -> str:
    return "\n".join(made.draw(width, height).lines())


# Which job


def jobs(*told: tuple[str, str, str, float | None]) -> Snapshot:
    """Jobs of study `small`: directory, kind, state, end."""
    made = [
        job(
            d, name=d, kind=kind, state=state, ended=end, started=1.0 if state != "queued" else None
        )
        for d, kind, state, end in told
    ]
    return Snapshot(jobs=tuple(made))


def test_the_job_that_measures_is_chosen_then_one_that_runs_then_the_last_that_ended() -> None:
    ended = ("c", "cohort", "done", 5.0)
    assert (
        choose(jobs(("a", "analysis", "running", None), ("b", "cohort", "running", None), ended))
        == "b"
    )
    assert choose(jobs(("a", "analysis", "running", None), ended)) == "a"
    assert (
        choose(jobs(ended, ("d", "subject", "failed", 9.0), ("r", "report", "done", 99.0))) == "d"
    )
    assert choose(jobs(ended, ("q", "cohort", "queued", None))) == "c"
    assert choose(jobs(("q", "cohort", "queued", None), ("p", "cohort", "queued", None))) == "q"
    assert choose(jobs(("x", "report", "failed", None))) == "x"
    assert choose(Snapshot()) == ""


def test_targets_that_the_queue_knows() -> None:
    snapshot = jobs(("a", "cohort", "done", 5.0), ("b", "cohort", "running", None))
    assert find(snapshot, "a") == "a"
    assert find(snapshot, "small/b") == "b"
    assert find(snapshot, "small") == "b"
    assert find(snapshot, "small/none") == ""
    assert find(snapshot, "other") == ""


def test_neighbours_are_jobs_of_the_study_that_have_measured() -> None:
    snapshot = jobs(
        ("s", "subject", "done", 1.0),
        ("x", "activations", "done", 2.0),
        ("a", "cohort", "running", None),
        ("q", "cohort", "queued", None),
    )
    assert neighbour(snapshot, "s", 1) == "a"
    assert neighbour(snapshot, "a", 1) == "s"
    assert neighbour(snapshot, "x", -1) == "s"
    assert neighbour(jobs(("s", "subject", "done", 1.0)), "s", 1) == ""
    assert neighbour(Snapshot(), "gone", 1) == ""


# What is said


def test_a_running_cohort(tmp_path: Path) -> None:
    make_run(tmp_path, rows=[row(step) for step in range(0, 51, 10)])
    made = sheet(follower(tmp_path).read())
    lines = made.draw(80, 22).lines()
    assert lines[0] == f"{' ● running  small/topk 64 k8':<59}step 50 of 100  50 %"
    assert lines[1].startswith("   3 seeds · cpu · 1 m")
    assert "▸ loss  2  1 – 3  log" in lines[3]
    assert lines[18].split() == [
        "▸loss", "2", "L0", "8", "EV", ".900", "dead", "20.0", "%", "agree", ".310",
    ]  # fmt: skip


def test_where_there_is_little_room_the_name_of_the_job_stays_whole() -> None:
    loaded = Loaded("cohort-a", data([0, 50], {"loss": [2, 1]}))
    name = "topk 64 k8 of a name"
    first = sheet(loaded, name=name, study="a-study-of-its-own").draw(60, 22).lines()[0]
    assert first.startswith(f" ● running  {name}  ")
    assert sheet(loaded, name=name).draw(80, 22).lines()[0].startswith(f" ● running  small/{name} ")


def test_all_panels_and_a_table_where_there_is_room(tmp_path: Path) -> None:
    make_run(tmp_path, rows=[row(step) for step in range(0, 51, 10)])
    made = sheet(follower(tmp_path).read())
    shown = text(made, 200, 58)
    for title in ("loss", "L0", "explained variance", "dead latents", "agreement of the seeds"):
        assert f"  {title}  " in shown or f"▸ {title}  " in shown
    at = next(line for line in shown.splitlines() if "at step 50" in line)
    assert at.split()[-5:] == ["loss", "L0", "EV", "dead", "agree"]
    values = [line.split()[-6:] for line in shown.splitlines() if line.strip().endswith(".310")]
    assert ["123", "2", "8", ".900", "20.0", "%", ".310"][-6:] in values
    made.maximised = True
    assert "at step 50" not in text(made, 200, 58)
    assert "agreement" not in text(made, 200, 58)


def test_a_failed_job_tells_why_and_what_helps() -> None:
    made = sheet(
        Loaded("cohort-a", data([0, 1], {"loss": [[1, 1, 1]] * 2}), Facts({"config": {"seeds": [1, 2, 3]}})),
        state="failed", failure="diverged", reason="all seeds\x1b[0m are lost", advice="lower the rate",
    )  # fmt: skip
    shown = text(made)
    assert "✗ failed" in shown
    assert "✗ diverged: all seeds\\x1b[0m are lost" in shown
    assert "  lower the rate" in shown


def test_long_reasons_are_wrapped_and_cut() -> None:
    made = sheet(Loaded("cohort-a"), state="failed", failure="bug", reason="word " * 200)
    lines = made.draw(80, 22).lines()
    assert [len(line) <= 80 for line in lines] == [True] * 22
    assert lines[4].endswith("…")


def test_a_job_without_curves_shows_the_end_of_its_log(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "report-a")
    (folder / "log.txt").write_text("".join(f"line {n}\n" for n in range(100)) + "\x1b]0;x\x07\n")
    made = sheet(
        follower(tmp_path, "report-a").read(), kind="report", name="report", steps=0, step=None
    )
    lines = made.draw(60, 12).lines()
    assert "cpu · 1 m" in lines[1]
    assert lines[3] == "  the end of its log"
    assert lines[-2:] == ["  line 99", "  \\x1b]0;x\\x07"]


def test_before_the_first_measurement(tmp_path: Path) -> None:
    make_run(tmp_path)
    assert "no measurement yet" in text(
        sheet(follower(tmp_path).read(), state="queued", reason="waits")
    )


def test_nothing_has_run() -> None:
    assert "nothing has run yet" in text(RunSheet())


def test_a_subject_has_its_key_frequencies() -> None:
    t = np.arange(4)
    curves = data(
        t, {"train_accuracy": [0, 0.5, 1, 1], "test_accuracy": [0, 0, 0, 1], "key_count": t}
    )
    spectrum = {"frequencies": [1, 2, 3], "logits": [0.1, 0.0, 0.9], "keys": [1, 3]}
    facts = Facts({"config": {"training": {"steps": 4000}}}, {"spectrum": spectrum})
    made = sheet(Loaded("s", curves, facts), kind="subject", name="subject", steps=0, state="done")
    assert "key frequencies  3 90 %  1 10 %" in text(made)
    assert "accuracy" in text(made)
    assert "acc 100 %" in text(made)
    wide = text(made, 160, 50)
    assert "   3   90.0 %  ███" in wide
    running = sheet(
        Loaded("s", curves, Facts(facts.config)), kind="subject", name="subject", steps=0, step=3
    )
    assert "step 3 of at most 4,000" in text(running)


@pytest.mark.parametrize(
    "spectrum", [None, [], {"frequencies": [1], "logits": [], "keys": [1]}, {"keys": 3}]
)
def test_a_damaged_spectrum_is_none(spectrum: object) -> None:
    assert Facts({}, {"spectrum": spectrum}).key_frequencies() == []


def test_flags_are_listed_counted_and_told_once() -> None:
    loaded = Loaded(
        "a", data([0, 10], {"loss": [[1, 1, 1]] * 2}, flags=[Flag(0, 42, "x", "old")]), Facts()
    )
    made = RunSheet()
    assert made.update(job("a"), loaded, 1.0) == []
    newer = [*loaded.data.flags, Flag(10, 123, "diverged", "seed 123: gone")]
    again = Loaded("a", data([0, 10, 20], {"loss": [[1, 1, 1]] * 3}, flags=newer), Facts())
    assert [flag.message for flag in made.update(job("a"), again, 2.0)] == ["seed 123: gone"]
    assert made.update(job("a"), again, 3.0) == []
    assert made.update(job("b"), Loaded("b"), 4.0) == []
    assert made.update(job("a"), again, 5.0) == []
    assert "! 2 red flags" in text(made)
    assert "! step 10  seed 123: gone" in text(made, 160, 50)


def test_another_job_is_looked_at_in_the_same_way() -> None:
    made = sheet(Loaded("cohort-a", data([0, 1], {"loss": [[1, 1, 1]] * 2}), Facts()))
    made.toggle("band")
    made.smooth(1)
    made.toggle("log")
    made.scrub(-1)
    made.keep_wish()
    made.update(job("b"), Loaded("b", data([0], {"loss": [[1, 1, 1]]}), Facts()), 2.0)
    curves = made.curves
    assert (curves.band, curves.weight, curves.log, curves.cursor) == (
        True,
        1,
        {"loss": False},
        None,
    )


@pytest.mark.parametrize("wish", [{}, {"band": 1, "weight": "x", "log": 3}, {"weight": 99}])
def test_a_wish_of_another_version_is_harmless(wish: dict) -> None:
    made = RunSheet()
    made.wish = wish
    made.update(job(), Loaded("a", data([0], {"loss": [[1, 1, 1]]}), Facts()), 2.0)
    assert made.curves.weight == 0


def test_the_sentence() -> None:
    loss = np.array([[3.0, 2, 1], [2, NAN, 1]])
    curves = Curves("cohort", SEEDS)
    curves.update(data([0, 50], {"loss": loss, "l0": [[8, 8, 8]] * 2}), live=True)
    assert sentence(job(), curves) == (
        "small/topk 64 k8 is running. At step 50: loss 1.50 (1 to 2 over its seeds); L0 8 (8 to 8 over its "
        "seeds). No red flags; 123 lost after 0."
    )
    assert sentence(job(), Curves("cohort")) == "small/topk 64 k8 is running; there are no curves."


def test_what_is_exported_has_a_column_per_seed() -> None:
    curves = Curves("cohort", SEEDS)
    curves.update(data([0, 10], {"loss": [[3, NAN, 1]] * 2, "fve": [0.5, 0.6]}), live=True)
    rows = Measurements(curves)
    assert rows.columns == ["step", "seconds", "loss/42", "loss/123", "loss/456", "fve"]
    assert list(rows) == [[0, None, 3, None, 1, 0.5], [10, None, 3, None, 1, 0.6]]
    assert rows[-1:] == [[10, None, 3, None, 1, 0.6]]


# Damage


def test_a_file_that_vanishes_is_told_and_what_was_read_stays(tmp_path: Path) -> None:
    folder = make_run(tmp_path, rows=[row(0), row(10)])
    reader = follower(tmp_path)
    assert len(reader.read().data) == 2
    (folder / "curves.jsonl").rename(folder / "elsewhere")
    for _ in range(2):
        found = reader.read()
        assert len(found.data) == 2
        assert found.trouble.startswith("curves.jsonl is gone; what is shown was read at ")
        assert "curves.jsonl is gone" in text(sheet(found))
    (folder / "elsewhere").rename(folder / "curves.jsonl")
    assert reader.read().trouble == ""


def test_a_file_that_shrinks_is_read_anew(tmp_path: Path) -> None:
    folder = make_run(tmp_path, rows=[row(0), row(10), row(20)])
    reader = follower(tmp_path)
    made = sheet(reader.read())
    made.smooth(1)
    text(made)
    (folder / "curves.jsonl").write_text(row(0, (9, 9, 9)))
    made.update(job(), reader.read(), 2.0)
    assert len(made.curves.data) == 1
    assert "▸ loss  9" in text(made)
    (folder / "curves.jsonl").write_text("")
    made.update(job(), reader.read(), 3.0)
    assert "no measurement yet" in text(made)


def test_a_torn_and_a_damaged_line_are_left_out(tmp_path: Path) -> None:
    torn = ['{"step": 5, "loss"', "\n", "\x00\xff\n", row(10), '{"step": 20, "lo']
    folder = make_run(tmp_path, rows=[row(0), *torn])
    reader = follower(tmp_path)
    assert reader.read().data.steps.tolist() == [0, 10]
    with open(folder / "curves.jsonl", "a") as file:
        file.write('ss": [1, 1, 1]}\n')
    assert reader.read().data.steps.tolist() == [0, 10, 20]


def test_only_nulls(tmp_path: Path) -> None:
    nulls = {name: [None] * 3 for name in ("l0", "explained_variance", "dead_fraction")}
    make_run(tmp_path, rows=[row(step, [None] * 3, **nulls, mean_max_cos=None) for step in (0, 10)])
    made = sheet(follower(tmp_path).read())
    assert "no values here" in text(made)
    for key in ("log", "band"):
        made.toggle(key)
    made.smooth(1)
    made.scrub(-1)
    assert "–" in text(made)
    assert "–" in text(made, 200, 58)
    sentence(job(), made.curves)


def test_a_seed_that_diverges(tmp_path: Path) -> None:
    make_run(tmp_path, rows=[row(0), row(10, (3, None, 1)), row(20, (2, None, 1))])
    made = sheet(follower(tmp_path).read())
    assert "123 lost after 0" in text(made)
    assert "range of 2 of 3 seeds" in text(made, 200, 58)


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    folder = make_run(tmp_path, rows=[row(0)])
    reader = follower(tmp_path)
    reader.read()
    (folder / "curves.jsonl").unlink()
    (folder / "curves.jsonl").mkdir()
    found = reader.read()
    assert found.trouble.startswith("curves.jsonl cannot be read: ")
    assert len(found.data) == 1


def test_a_number_that_is_too_large_for_one(tmp_path: Path) -> None:
    folder = make_run(tmp_path, rows=[row(0)])
    reader = follower(tmp_path)
    reader.read()
    with open(folder / "curves.jsonl", "a") as file:
        file.write('{"step": 10, "loss": [1' + "0" * 400 + ", 1, 1]}\n")
    found = reader.read()
    assert found.trouble.startswith("curves.jsonl cannot be read: ") or len(found.data) == 2
    assert len(found.data) >= 1


def test_a_run_directory_that_is_removed(tmp_path: Path) -> None:
    folder = make_run(tmp_path, rows=[row(0), row(10)])
    reader = follower(tmp_path)
    reader.read()
    shutil.rmtree(folder)
    made = sheet(reader.read())
    assert "the run directory is gone" in text(made)
    assert "3 seeds" in text(made)
    made.update(None, reader.read(), 3.0)  # the queue has forgotten it, too
    assert "topk 64 k8" in text(made)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"config": 3, "placement": []}', "\x00"])
def test_job_files_may_be_damaged(tmp_path: Path, content: str) -> None:
    folder = make_run(tmp_path, rows=[row(0)])
    (folder / "job.json").write_text(content)
    (folder / "result.json").write_text(content)
    facts = read_facts(RunsRoot(tmp_path).run("cohort-a"))
    assert facts.seeds == ()
    assert facts.place == ""
    assert "0 3  1 2  2 1" in text(
        sheet(Loaded("cohort-a", follower(tmp_path).read().data, facts), state="done")
    )


def test_other_measurements_than_expected(tmp_path: Path) -> None:
    rows = [
        json.dumps({"step": s, "perplexity": 30.0 / (s + 1), "odd": "text"}) + "\n"
        for s in range(9)
    ]
    make_run(tmp_path, rows=rows)
    assert "perplexity" in text(sheet(follower(tmp_path).read()))


def test_a_log_is_read_from_its_end(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    (folder / "log.txt").write_bytes(b"\xff" * 100_000 + b"\nlast\n")
    assert read_facts(RunsRoot(tmp_path).run("cohort-a")).log == ("last",)
    os.remove(folder / "log.txt")
    assert read_facts(RunsRoot(tmp_path).run("cohort-a")).log == ()


def test_every_size_can_be_drawn(tmp_path: Path) -> None:
    make_run(tmp_path, rows=[row(step) for step in range(0, 51, 10)])
    made = sheet(follower(tmp_path).read())
    for width in (1, 20, 60, 119, 120, 250):
        for height in (0, 1, 5, 13, 34, 80):
            made.draw(width, height)


@pytest.mark.parametrize("value", [-5.0, -1e-9, 1e-300, 1.5, 37.0, -1e30, 1e300, float("nan")])
@pytest.mark.parametrize("other", [0.0, 0.5, -3.0, 1e12])
def test_shares_that_are_none_are_drawn_like_other_numbers(value: float, other: float) -> None:
    values = {"loss": [[value] * 3, [other] * 3], "dead_fraction": [[value] * 3, [other] * 3]}
    for rows in (values, {name: both[:1] for name, both in values.items()}):
        steps = [0, 1][: len(rows["loss"])]
        made = sheet(Loaded("cohort-a", data(steps, rows), Facts({"config": {"seeds": [1, 2, 3]}})))
        for size in ((80, 22), (200, 58), (60, 13)):
            assert made.draw(*size).lines()
