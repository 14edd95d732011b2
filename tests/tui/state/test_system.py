"""Meters, histories, profiles and findings as lines, against numbers worked by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.client.machine import Gpu, Load, WorkerLoad
from engine.doctor import Finding
from engine.study.machine import Machine
from engine.study.profile import place, profiles
from husai_tui.state.meter import History, Steady, bar, levels, plural, size
from husai_tui.state.system import Details, Meters
from husai_tui.tones import Line

GB = 1 << 30
LOAD = Load((0.5, 0.25), (1.5, 1.0, 0.5), (4 * GB, 16 * GB), (0, 0), (95 * GB, 100 * GB))


def texts(lines: list[Line]) -> list[str]:
    return ["".join(text for text, _ in line.parts).rstrip() for line in lines]


@pytest.mark.parametrize(
    ("share", "drawn"),
    [
        (0.0, "────"),
        (1.0, "━━━━"),
        (0.5, "━━──"),
        (0.375, "━╸──"),
        (0.001, "╸───"),
        (7.0, "━━━━"),
        (-1, "────"),
    ],
)
def test_a_bar_is_drawn_to_half_a_cell(share: float, drawn: str) -> None:
    assert "".join(bar(share, 4)) == drawn


def test_levels_have_eight_heights_and_a_gap_where_nothing_is_known() -> None:
    assert levels([0.0, 0.125, 0.5, 0.99, 1.0, None, 2.0]) == "▁▂▅██ █"


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1024, "1 KB"), (412 << 20, "412 MB"), (12 * GB + GB // 2, "12.5 GB"),
     (252 * GB, "252 GB"), (1023 << 20, "1.0 GB"), (3 << 40, "3.0 TB")],
)  # fmt: skip
def test_sizes_have_three_digits(count: int, said: str) -> None:
    assert size(count) == said
    assert (plural(1, "job"), plural(2000, "job")) == ("1 job", "2,000 jobs")


def test_a_number_stays_until_something_has_really_changed() -> None:
    shown = Steady(0.025)
    assert [shown.take(v) for v in (0.10, 0.12, 0.08, 0.13, 0.11)] == [0.10, 0.10, 0.10, 0.13, 0.13]


def test_a_history_is_the_mean_of_equal_spans() -> None:
    history = History(spans=4, seconds=5.0)
    for now, share in ((0, 0.2), (2, 0.4), (5, 0.9), (9, 0.7), (10, 0.0)):
        history.add(share, now)
    assert history.last(3) == [None, pytest.approx(0.3), pytest.approx(0.8)]
    history.add(0.5, 21)
    assert history.last(4)[-1] is None, "nobody looked in that span"
    history.add(0.5, 10_000)
    assert history.last(2) == [None, None]
    assert history.last(0) == []


def test_meters_say_share_amount_and_what_is_scarce() -> None:
    meters = Meters()
    assert texts(meters.lines(80)) == [" looking at the machine"]
    meters.take(LOAD, 0.0)
    cpu, cores, memory, disk = texts(meters.lines(80))
    assert cpu.startswith(" cpu      ")
    assert " 38 %" in cpu
    assert cpu.endswith("2 cores, load 1.5")
    assert cores == " cores     ▅  50 %  ▃  25 %"
    assert memory.endswith("4.0 GB of 16.0 GB")
    assert disk.endswith("95.0 GB of 100 GB, full"), "said in words, not by colour alone"
    assert all(len(line) <= 80 for line in texts(meters.lines(80)))


def test_every_label_ends_before_its_bar_and_eight_cores_before_the_edge() -> None:
    meters = Meters()
    gpu = Gpu("H100", 0.9, 40 * GB, 80 * GB, 61, 402.0)
    meters.take(replace(LOAD, cores=(1.0,) * 8, gpus=(gpu,)), 0.0)
    lines = texts(meters.lines(80))
    assert any(line.startswith(" gpu 0 mem ") for line in lines)
    assert lines[1].endswith(" █ 100 %")
    assert len(lines[1]) < 80


def test_an_idle_machine_shows_the_same_lines() -> None:
    meters = Meters()
    meters.take(LOAD, 0.0)
    before = meters.lines(100)
    for second in range(1, 4):
        jitter = (0.5 + 0.004 * second, 0.25 - 0.004 * second)
        meters.take(
            replace(LOAD, cores=jitter, load=(1.4, 1, 1), memory=(4 * GB + 9999, 16 * GB)), second
        )
    assert meters.lines(100) == before


def test_many_cores_are_blocks_and_few_have_bars_where_there_is_room() -> None:
    meters = Meters()
    meters.take(replace(LOAD, cores=(1.0,) * 64), 0.0)
    lines = texts(meters.lines(80))
    assert lines[1] == " cores     " + " ".join(["█" * 8] * 7)
    assert lines[2] == " " * 11 + "█" * 8
    meters = Meters()
    meters.take(LOAD, 0.0)
    tall = texts(meters.lines(98, tall=True))
    assert tall[1].startswith("   0       ━━")
    assert tall[1].endswith(" 50 %")


def test_gpus_have_meters_and_what_cannot_be_read_is_said() -> None:
    card = Gpu("H100\x1b", 0.93, 70 * GB, 78 * GB, 61.0, 402.0)
    meters = Meters()
    meters.take(replace(LOAD, gpus=(card, Gpu("slice", None, 0, GB, None, None))), 0.0)
    lines = texts(meters.lines(80))
    assert any(
        line.startswith(" gpu 0 ") and "93 %" in line and "\x1b" not in line for line in lines
    )
    assert any("60 °C, 400 W" in line for line in lines)
    assert any("gpu 0 mem" in line and "70.0 GB of 78.0 GB, nearly full" in line for line in lines)
    assert not any(line.startswith(" gpu 1 ") and "mem" not in line for line in lines)
    meters.take(replace(LOAD, gpu_note="pip install nvidia-ml-py"), 1.0)
    assert texts(meters.lines(80))[-1].endswith("nvidia-ml-py")


def details() -> Details:
    machine = Machine(
        4, 16 * GB, "Linux", {"cpu": "x86"}, {"cuda": "no NVIDIA driver", "mps": "needs macOS"}
    )
    found = Details()
    found.profile, found.root = "cpu", "runs"
    for name, profile in profiles().items():
        fits = name in ("auto", "cpu")
        reason = "" if fits else machine.missing[profile.device]
        found.placed = [*found.placed, (profile, place(profile, machine) if fits else None, reason)]
    return found


def test_profiles_say_what_they_would_do_or_why_not() -> None:
    found = details()
    lines = texts(found.lines(30, 80))
    assert " ○ auto    cpu   4 workers of 1 thread  12.8 GB  float32, repeatable" in lines
    assert " ● cpu     cpu   4 workers of 1 thread  12.8 GB  float32, repeatable" in lines
    assert " ✗ cuda    no NVIDIA driver" in lines
    found.cursor = "profile mps"
    assert "It does not fit: needs macOS" in texts(found.about(200, 3))[0]
    found.running_profile = "auto"
    assert "the engine runs auto" in texts(found.lines(30, 80))[0]


def test_findings_come_worst_first_each_with_its_remedy() -> None:
    found = details()
    assert " doctor  D lets it look" in texts(found.lines(30, 80))
    found.findings = [
        Finding("python", "ok", "3.11"),
        Finding("cuda", "note", "none"),
        Finding(
            "openmp", "error", "2 OpenMP runtimes are loaded at once", "use a fresh environment"
        ),
        Finding("disk", "warning", "0.4 GB free", "1 GB is needed"),
    ]
    lines = texts(found.lines(40, 100))
    at = lines.index(" doctor  1 error, 1 warning, 1 note, 1 ok")
    assert lines[at + 1] == (
        " ✗ openmp     2 OpenMP runtimes are loaded at once  → use a fresh environment"
    )
    assert [line.split()[1] for line in lines[at + 1 : at + 5]] == [
        "openmp",
        "disk",
        "cuda",
        "python",
    ]
    assert "OpenMP" in found.told()
    found.trouble, found.findings = "no\x1b", None
    assert any("could not look: no\\x1b" in line for line in texts(found.lines(40, 100)))


def test_workers_and_storage_are_listed() -> None:
    found = details()
    found.load = replace(LOAD, workers=(WorkerLoad(77, "cohort-1", "topk 64", 0.98, 416 << 20),))
    found.stored, found.garbage = 80 << 20, 5 << 20
    lines = texts(found.lines(40, 100))
    assert " workers  1 of the engine" in lines
    assert "         77   100 %    416 MB  topk 64" in lines
    assert "   holds   80 MB  5 MB can be removed: g" in lines


@pytest.mark.parametrize("height", [3, 8, 30])
def test_the_cursor_is_always_in_sight(height: int) -> None:
    found = details()
    found.findings = [Finding(f"t{n}", "ok", "fine") for n in range(12)]
    found.move(-99)
    for _ in range(30):
        lines = found.lines(height, 80)
        assert len(lines) <= height
        assert sum(line.cursor for line in lines) == 1, found.cursor
        found.move(1)
    assert found.cursor == "storage"
    found.move(-99)
    assert found.cursor == "profile auto"


def test_a_profile_is_told_with_its_gpus_and_what_its_device_cannot_do() -> None:
    devices = {"cpu": "x", "cuda": "CUDA 13"}
    two = Machine(8, 64 * GB, "Linux", devices, {}, {"cuda": 24 * GB}, ("0", "1"))
    mac = Machine(8, 16 * GB, "Darwin", {"cpu": "x", "mps": "Metal"}, {})
    found = Details()
    known = profiles()
    found.placed = [
        (known[name], place(known[name], machine), "")
        for name, machine in (("cuda", two), ("mps", mac))
    ]
    found.cursor = "profile cuda"
    assert "2 workers of 4 threads over 2 GPUs" in " ".join(texts(found.about(300, 4)))
    found.cursor = "profile mps"
    assert "Known gap: no float64" in " ".join(texts(found.about(600, 4)))
    assert all(len(text) <= 80 for text in texts(found.about(80, 4)))
