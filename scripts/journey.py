"""A person's way through the app, typed by a script into a real terminal (tmux), with pictures kept."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.console import Console
from rich.terminal_theme import MONOKAI

SMALL, LARGE = (80, 24), (200, 60)


class Lost(Exception):
    """The app did not show what was waited for."""


class Terminal:
    """One tmux session of its own server: what it shows, and keys for it."""

    def __init__(self, folder: Path, command: str, size: tuple[int, int]) -> None:
        # A server of its own each time: one that was told to leave may still be there.
        self._socket = str(Path(tempfile.mkdtemp(dir=folder)) / "tmux")
        self.size = size
        environment = {k: v for k, v in os.environ.items() if k not in ("TMUX", "COLORTERM")}
        self._environment = {**environment, "XDG_CONFIG_HOME": str(folder / "config")}
        width, height = map(str, size)
        self._tmux(
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-s",
            "husai",
            "-x",
            width,
            "-y",
            height,
            command,
        )
        self._tmux("set", "-g", "status", "off")
        self._tmux("set", "-g", "remain-on-exit", "on")  # what a crash says stays to be read

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, *words],
            capture_output=True,
            text=True,
            check=True,
            env=self._environment,
        )
        return done.stdout

    def text(self) -> str:
        """Return what is on the screen."""
        return self._tmux("capture-pane", "-p", "-t", "husai")

    def press(self, *keys: str) -> None:
        """Press keys, as tmux names them."""
        for key in keys:
            self._tmux("send-keys", "-t", "husai", key)
            time.sleep(0.15)

    def write(self, text: str) -> None:
        """Type a text."""
        self._tmux("send-keys", "-t", "husai", "-l", text)
        time.sleep(0.3)

    def wait(self, *texts: str, seconds: float = 20.0) -> str:
        """Wait until one of some texts is on the screen, and return it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            shown = self.text()
            for text in texts:
                if text in shown:
                    return text
            time.sleep(0.2)
        raise Lost(f"none of {texts} within {seconds:.0f} s; on the screen:\n{self.text()}")

    def resize(self, size: tuple[int, int]) -> None:
        """Give the window another size."""
        self.size = size
        self._tmux("resize-window", "-t", "husai", "-x", str(size[0]), "-y", str(size[1]))
        time.sleep(1.0)

    def picture(self, path: Path) -> None:
        """Keep what is shown, with its colours, as SVG and as text."""
        time.sleep(0.8)
        ansi = self._tmux("capture-pane", "-e", "-N", "-p", "-t", "husai")
        console = Console(
            record=True,
            width=self.size[0],
            file=io.StringIO(),
            force_terminal=True,
            color_system="truecolor",
        )
        # As a whole: what one line sets holds on the next.
        for line in [*AnsiDecoder().decode(ansi)][: self.size[1]]:
            console.print(line, no_wrap=True, crop=True)
        console.save_svg(str(path.with_suffix(".svg")), title="husai", theme=MONOKAI)
        path.with_suffix(".txt").write_text(self.text())

    def close(self) -> None:
        """End the session, as a lost connection would."""
        subprocess.run(
            ["tmux", "-S", self._socket, "kill-server"], capture_output=True, check=False
        )


class Journey:
    """The way from an empty start to a feature card, and pictures along it."""

    def __init__(self, terminal: Terminal, out: Path) -> None:
        self.terminal, self.out, self.number = terminal, out, 0

    def keep(self, name: str) -> None:
        """Keep a picture of what is shown now, small and large."""
        self.number += 1
        for size in (SMALL, LARGE):
            if self.terminal.size != size:
                self.terminal.resize(size)
            self.terminal.picture(self.out / f"{self.number:02d}-{name}-{size[0]}x{size[1]}")
        self.terminal.resize(SMALL)
        print(f"{self.number:2d} {name}", flush=True)

    def queue_a_study(self) -> None:
        """From nothing to a study in the queue."""
        there = self.terminal
        there.wait("the queue is empty")
        there.wait("engine up")
        self.keep("empty")
        there.press("?")
        there.wait("Keys:")
        self.keep("help")
        there.press("Escape", ":")
        there.write("sweep")
        self.keep("palette")
        there.press("Escape", "5")
        there.wait("Sweep")
        there.press("p")
        self.keep("presets")
        there.press("Escape")
        there.write("5")
        self.keep("sweep")

    def watch_it(self) -> None:
        """The queue and a live run, until the report is there."""
        there = self.terminal
        there.press("1")
        there.wait("running")
        self.keep("runs")
        there.press("2")
        there.wait("Run")
        time.sleep(4.0)
        self.keep("run-live")
        there.press("6")
        self.keep("logs")
        there.press("7")
        time.sleep(3.0)
        self.keep("system")
        there.press("1")
        there.wait("all is done", seconds=600.0)
        self.keep("runs-done")

    def look_at_it(self) -> None:
        """The result: curves, agreement, features, one feature."""
        there = self.terminal
        for key, name in (("2", "subject"), ("]", "run"), ("3", "compare"), ("4", "features")):
            there.press(key)
            time.sleep(2.0)
            self.keep(name)
        there.press("Enter")
        time.sleep(8.0)  # the map comes from a process that imports torch first
        self.keep("card")
        there.press("a")
        time.sleep(0.5)
        self.keep("described")
        there.press("Escape", "y")
        self.keep("copy")
        there.press("Escape", "E")
        self.keep("export")
        there.press("Escape")


def main() -> None:
    """Walk, and say where the pictures are."""
    out = Path(sys.argv[1]).resolve()
    study = sys.argv[2] if len(sys.argv) > 2 else "smoke"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="husai-journey-") as name:
        folder = Path(name)
        runs = folder / "runs"
        terminal = Terminal(folder, f"husai --runs {runs}", SMALL)
        try:
            walk = Journey(terminal, out)
            walk.queue_a_study()
            terminal.close()
            # The window is gone; another one comes back to the same place, and queues.
            terminal = Terminal(folder, f"husai sweep {study} --runs {runs}", SMALL)
            walk.terminal = terminal
            terminal.wait("SAEs")
            time.sleep(3.0)
            walk.keep("sweep-planned")
            terminal.press("C-s")
            time.sleep(2.0)
            walk.keep("queued")
            walk.watch_it()
            walk.look_at_it()
            terminal.press("q")
        except BaseException:
            with contextlib.suppress(subprocess.CalledProcessError):
                print(terminal.text(), file=sys.stderr)
            for fault in folder.rglob("faults.log"):
                print(fault.read_text(), file=sys.stderr)
            raise
        finally:
            terminal.close()
            subprocess.run(["husai-engine", "down", "--runs", str(runs)], check=False)
    print(out)


if __name__ == "__main__":
    main()
