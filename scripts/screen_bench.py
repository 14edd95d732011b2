"""Measures the app in a terminal of 80 × 24 on live runs: traffic, key to paint, memory, CPU, start."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import psutil

from husai_tui.app import SCREENS
from husai_tui.keys import VIEWS, Where
from scripts.pretend import Pretence
from scripts.pseudo_terminal import HUSAI, PseudoTerminal

TARGETS = {
    "live": 5000.0,
    "still": 200.0,
    "p95_ms": 50.0,
    "rss_mb": 200.0,
    "cpu": 0.10,
    "start_s": 1.0,
}
"""Bytes per second while jobs run and while nothing changes, and so on: the most there may be."""
PAIRS = (("j", "k"), ("right", "left"), ("plus", "minus"), ("l", "h"))
"""Keys that undo each other; the first pair that paints something is timed."""
NO_PAINT_SECONDS = 0.4


def settle(terminal: PseudoTerminal, quiet: float = 0.06, most: float = 2.0) -> None:
    """Wait until nothing comes for a while."""
    deadline = time.monotonic() + most
    while terminal.read(quiet) and time.monotonic() < deadline:
        pass


def latencies(terminal: PseudoTerminal, presses: int) -> list[float]:
    """Return the seconds from keys to the first bytes of what they change; empty: no key paints here."""
    for pair in PAIRS:
        found: list[float] = []
        for number in range(presses):
            settle(terminal)
            begun = time.perf_counter()
            terminal.press(pair[number % 2])
            if terminal.read(NO_PAINT_SECONDS):
                found.append(time.perf_counter() - begun)
            elif number - len(found) > presses // 10:
                break  # keys that mostly paint nothing: what came was the clock's
        else:
            return found
    return []


def traffic(terminal: PseudoTerminal, seconds: float) -> tuple[float, float]:
    """Return the bytes per second that come, and the share of a core that the program takes."""
    process = psutil.Process(terminal.process.pid)
    before, begun = process.cpu_times(), time.monotonic()
    count = terminal.watch(seconds)
    passed, after = time.monotonic() - begun, process.cpu_times()
    cpu = after.user + after.system - before.user - before.system
    return count / passed, cpu / passed


def measure(
    root: Path, target: str, folder: Path, seconds: float, presses: int, screens: list[Where]
) -> dict[str, dict[str, float]]:
    """Return what each screen costs on a runs root as it is now."""
    found: dict[str, dict[str, float]] = {}
    words = ["run", target] if "run" in SCREENS else []
    command = [*HUSAI, *words, "--runs", str(root), "--no-engine"]
    environment = {"XDG_CONFIG_HOME": str(folder / "settings"), "OMP_NUM_THREADS": "1"}
    with PseudoTerminal(command, environment=environment, folder=folder) as terminal:
        terminal.until("engine up")
        for name in screens:
            terminal.press(str(VIEWS.index(name) + 1))
            terminal.watch(3.0)
            rate, cpu = traffic(terminal, seconds)
            row: dict[str, float] = {"bytes_per_s": round(rate), "cpu": round(cpu, 3)}
            times = latencies(terminal, presses) if presses else []
            if times:
                row["p50_ms"] = round(1000 * statistics.median(times), 1)
                row["p95_ms"] = round(1000 * sorted(times)[int(0.95 * (len(times) - 1))], 1)
                row["keys"] = len(times)
            if terminal.process.poll() is not None:
                raise RuntimeError(f"{name}: the app ended: {terminal.raw[-300:]!r}")
            row["rss_mb"] = round(psutil.Process(terminal.process.pid).memory_info().rss / 1e6)
            found[name] = row
        terminal.press("q")
        terminal.end(5)
    return found


def start(root: Path, folder: Path, times: int) -> list[float]:
    """Return the seconds from the start of the process to the first whole frame, best first."""
    found = []
    environment = {"XDG_CONFIG_HOME": str(folder / "settings"), "OMP_NUM_THREADS": "1"}
    for _ in range(times):
        command = [*HUSAI, "runs", "--runs", str(root), "--no-engine"]
        with PseudoTerminal(command, environment=environment, folder=folder) as terminal:
            terminal.until("Runs & queue")
            terminal.until("help")
            found.append(round(time.monotonic() - terminal.begun, 3))
            terminal.press("q")
            terminal.end(5)
    return sorted(found)


def bench(
    *,
    seconds: float,
    presses: int,
    queued: int,
    rows: int,
    starts: int,
    folder: Path,
    only: Collection[str] = VIEWS,
) -> dict[str, Any]:
    """Return all measurements, and under `missed` the targets that were not met."""
    screens = [name for name in VIEWS if name in SCREENS and name in only]
    pretence = Pretence(folder / "runs", queued=queued, rows=rows)
    root, target = pretence.root.path, pretence.running[0]
    with pretence.alive():
        first = start(root, folder, starts)
        live = measure(root, target, folder, seconds, presses, screens)
    pretence.end()
    with pretence.alive():
        still = measure(root, target, folder, seconds, 0, screens)
    found = {"start_s": first, "live": live, "still": still}
    return {**found, "missed": missed(found)}


def missed(found: dict[str, Any]) -> list[str]:
    """Return a line for every target that was not met."""
    lines = []
    if found["start_s"] and found["start_s"][0] > TARGETS["start_s"]:
        lines.append(f"start: {found['start_s'][0]} s")
    for state in ("live", "still"):
        for name, row in found[state].items():
            wrong = [key for key in ("p95_ms", "rss_mb", "cpu") if row.get(key, 0) > TARGETS[key]]
            lines += [f"{name} {state}: {key} {row[key]}" for key in wrong]
            if row["bytes_per_s"] > TARGETS[state]:
                lines.append(f"{name} {state}: {row['bytes_per_s']} bytes/s")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of traffic, per screen")
    parser.add_argument("--presses", type=int, default=40, help="keys timed, per screen")
    parser.add_argument("--queued", type=int, default=20, help="jobs that wait")
    parser.add_argument("--rows", type=int, default=2500, help="of curves, per job (8 × 5 seeds)")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--screens", nargs="*", default=VIEWS, choices=VIEWS)
    parser.add_argument("--json", action="store_true", help="print nothing else")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="husai-bench-") as folder:
        found = bench(
            seconds=given.seconds,
            presses=given.presses,
            queued=given.queued,
            rows=given.rows,
            starts=given.starts,
            folder=Path(folder),
            only=given.screens,
        )
    if not given.json:
        print(f"first frame after {', '.join(f'{one:.2f}' for one in found['start_s'])} s")
        for state in ("live", "still"):
            for name, row in found[state].items():
                print(f"{state:<6}{name:<10}" + "  ".join(f"{key} {row[key]}" for key in row))
        print("\n".join(f"missed: {line}" for line in found["missed"]) or "all targets met")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
