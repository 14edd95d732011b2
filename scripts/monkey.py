"""Presses random keys in the app, on a runs root that is alive and sometimes damaged; nothing may fail.

Keys come from the key table, so from all screens that there are; now and then text is typed, the window gets
another size, a file is torn, vanishes or is renamed. What ends the app is undone by starting it again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from husai_tui.app import SCREENS
from husai_tui.keys import KEYS, VIEWS
from scripts.pretend import Pretence
from scripts.pseudo_terminal import HUSAI, PseudoTerminal

SIZES = ((80, 24), (200, 60), (40, 10))
WORDS = (
    "running",
    "!done",
    "cos>0.9 mutual",
    "[bold]",
    "\\",
    "特",
    "a b",
    "1e999",
    "-1",
    "cancel",
    "(((",
    "%s",
)
LEAVING = {"ctrl+c", "ctrl+q", "ctrl+z", "q"}
"""Keys that end the app or put it to sleep: pressed seldom, or not at all."""
SILENCE_SECONDS = 15.0
"""How long the app may take to answer before it counts as hung."""


def pressable() -> list[str]:
    """Return every key of the table that a terminal can send."""
    digits = {str(VIEWS.index(name) + 1) for name in SCREENS}
    keys = {one.strip() for key in KEYS for one in key.keys.split(",")} | {
        "tab",
        "shift+tab",
        "escape",
        "enter",
    }
    keys -= {str(number + 1) for number in range(len(VIEWS))} - digits
    return sorted(keys - LEAVING)


def damage(pretence: Pretence, chance: random.Random) -> str:
    """Tear, remove, or rename something that the app may show; return what was done."""
    run = pretence.root.run(chance.choice(pretence.running))
    what = chance.choice(["torn", "gone", "renamed", "nonsense"])
    try:
        if what == "torn":
            with open(run.curves_file, "a") as file:
                file.write('{"step": 12, "loss": [1.0, NaN')
        elif what == "gone":
            chance.choice([run.curves_file, run.log_file, run.job_file]).unlink(missing_ok=True)
        elif what == "renamed":
            aside = run.path.with_name("cohort-elsewhere")
            run.path.rename(aside)
            time.sleep(0.05)
            aside.rename(run.path)
        else:
            chance.choice([run.curves_file, run.job_file]).write_bytes(os.urandom(300))
    except OSError:
        return "nothing"
    return what


class Monkey:
    """Types at an app and watches how it fares."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance, self.folder, self.counts = random.Random(seed), folder, Counter[str]()
        self.keys, self.last = pressable(), list[str]()
        self.wrong: list[str] = []
        self.faults = folder / "settings" / "husai" / "faults.log"

    def open(self, root: Path) -> PseudoTerminal:
        """Start the app."""
        self.counts["start"] += 1
        command = [*HUSAI, "--runs", str(root), "--no-engine"]
        environment = {
            "XDG_CONFIG_HOME": str(self.folder / "settings"),
            "OMP_NUM_THREADS": "1",
            "PYTHONFAULTHANDLER": "1",
            "EDITOR": "true",
            "VISUAL": "true",
        }
        terminal = PseudoTerminal(command, environment=environment, folder=self.folder)
        if not terminal.until("KB/s", 30):
            self.wrong.append(f"did not start: {terminal.raw[-500:]!r}")
        return terminal

    def act(self, terminal: PseudoTerminal, pretence: Pretence) -> None:
        """Do one thing."""
        dice = self.chance.random()
        if dice < 0.03:
            size = self.chance.choice(SIZES)
            terminal.resize(*size)
            done = "resize"
        elif dice < 0.09:
            terminal.type(self.chance.choice(WORDS))
            terminal.press(self.chance.choice(["enter", "escape"]))
            done = "text"
        elif dice < 0.11:
            done = damage(pretence, self.chance)
        elif dice < 0.115:
            terminal.press("q")
            done = "q"
        else:
            done = self.chance.choice(self.keys)
            terminal.press(done)
        self.counts["keys" if done in self.keys else done] += 1
        self.last = [*self.last[-19:], done]

    def judge(self, terminal: PseudoTerminal) -> bool:
        """Take note of what went wrong; return whether the app goes on."""
        if self.faults.is_file() and self.faults.stat().st_size:
            trace = self.faults.read_text()
            self.wrong.append(f"after {' '.join(self.last)}:\n{trace}")
            self.faults.unlink()
        code = terminal.process.poll()
        if code not in (None, 0):
            self.wrong.append(f"ended with {code} after {' '.join(self.last)}")
        return code is None

    def answers(self, terminal: PseudoTerminal) -> bool:
        """Return whether the app still does what it is told: paint, when asked to paint all."""
        terminal.resize(80, 24)
        terminal.press("escape")
        terminal.watch(0.2)
        terminal.press("escape", "ctrl+l")
        return bool(terminal.read(SILENCE_SECONDS)) or terminal.process.poll() is not None


def play(
    seconds: float, seed: int, folder: Path, *, pause: float = 0.01, runs: Path | None = None
) -> dict[str, Any]:
    """Press keys for so long; return the counts, and under `wrong` what failed.

    Args:
        seconds: how long.
        seed: of the choices.
        folder: where runs, settings and faults are kept.
        pause: seconds between two keys.
        runs: a runs root of which a copy is played on, with finished studies to look at; None: an empty one.
    """
    monkey = Monkey(folder, seed)
    if runs is not None:
        shutil.copytree(runs, folder / "runs", symlinks=True)
    pretence = Pretence(folder / "runs", running=3, queued=12, rows=60)
    deadline = time.monotonic() + seconds
    with pretence.alive(0.2):
        terminal = monkey.open(pretence.root.path)
        while time.monotonic() < deadline and len(monkey.wrong) < 5:
            monkey.act(terminal, pretence)
            terminal.watch(pause)
            going = monkey.judge(terminal)
            asked = monkey.counts["keys"] % 100 == 99
            if going and asked and not monkey.answers(terminal):
                os.kill(terminal.process.pid, signal.SIGABRT)  # says where each thread is
                terminal.end(5)
                monkey.wrong.append(f"hung after {' '.join(monkey.last)}:\n{terminal.raw[-6000:]}")
                going = False
            if not going:
                terminal.__exit__()
                terminal = monkey.open(pretence.root.path)
        terminal.resize(80, 24)
        terminal.press("ctrl+q")
        if terminal.end(10) is None:
            monkey.wrong.append(f"did not close after {' '.join(monkey.last)}")
        monkey.judge(terminal)
        terminal.__exit__()
    return {"seed": seed, "screens": sorted(SCREENS), **monkey.counts, "wrong": monkey.wrong}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--runs", type=Path, help="runs root to copy, for finished studies")
    parser.add_argument("--keep", type=Path, help="folder that is kept, for a look at what failed")
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="husai-monkey-"))
    folder.mkdir(parents=True, exist_ok=True)
    found = play(given.seconds, given.seed, folder, runs=given.runs)
    if not given.keep:
        shutil.rmtree(folder, ignore_errors=True)
    for line in found["wrong"]:
        print(line, file=sys.stderr)
    print(json.dumps({**found, "wrong": len(found["wrong"])}))
    sys.exit(1 if found["wrong"] else 0)


if __name__ == "__main__":
    main()
