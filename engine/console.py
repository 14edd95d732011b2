"""What `run` shows while it works: plain lines, or one live line per job in a terminal."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from engine.client.queue import newest_row
from engine.disk.curves import Row
from engine.disk.root import RunsRoot
from engine.disk.text import bare, visible_line
from engine.jobs.events import Event, Named

LINE_EVERY_SECONDS = 10.0
REFRESH_SECONDS = 0.5
MARKS = {"cached": "✓", "done": "✓", "failed": "✗", "skipped": "–", "note": " "}


class Screen(Console):
    """A console for progress: when its reader leaves it goes quiet, and the work goes on."""

    def on_broken_pipe(self) -> None:
        """Write nothing more."""
        self.quiet = True


class Display(Protocol):
    """Shows events until it is closed."""

    def show(self, event: Event) -> None:
        """Take in one event."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def headline(row: Row | None) -> str:
    """Return the one figure of a curve row that says how far a job has come."""
    if row is None:
        return ""
    if isinstance(row.get("test_accuracy"), float):
        return bare(f"test accuracy {row['test_accuracy']:.3f}")
    values = [value for value in row.get("explained_variance") or [] if value is not None]
    return bare(f"explained variance {statistics.fmean(values):.3f}") if values else ""


def duration(seconds: float) -> str:
    """Return a duration for people: `4.2 s`, `1:23`, `2:05:10`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def ending(event: Event) -> str:
    """Return the line that says how a job ended."""
    mark, name = MARKS[event.what], visible_line(event.job.name)
    if event.what == "cached":
        return f"{mark} {name}: cached"
    if event.what == "done":
        return f"{mark} {name}: {duration(event.seconds)}"
    return f"{mark} {name}: {visible_line(event.message)}"


class Lines:
    """Plain lines for logs and pipes: starts, ends, and a sign of life now and then."""

    def __init__(self, console: Console, runs: Path) -> None:
        self._console, self._runs = console, RunsRoot(runs)
        self._said: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, event: Event) -> None:
        """Print what is worth a line."""
        if event.what == "started":
            self._said[event.job.key] = time.monotonic()
            self._print(f"  {visible_line(event.job.name)}: started")
        elif event.what == "running":
            # A job of hours says less often that it lives than one of minutes.
            if time.monotonic() - self._said[event.job.key] < max(
                LINE_EVERY_SECONDS, event.seconds / 10
            ):
                return
            self._said[event.job.key] = time.monotonic()
            row = newest_row(self._runs, event.job)
            if row is not None:
                of = f" of {event.job.steps}" if event.job.steps else ""
                self._print(
                    f"  {visible_line(event.job.name)}: step {row['step']}{of}  {headline(row)}"
                )
        else:
            self._print(ending(event))

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class Live:
    """One line per running job, drawn over itself; ended jobs stay above."""

    def __init__(self, console: Console, runs: Path) -> None:
        self._runs = RunsRoot(runs)
        self._tasks: dict[str, tuple[Named, TaskID]] = {}
        self._drawn = 0.0
        self._progress = Progress(
            TextColumn("  {task.description}"),
            BarColumn(
                bar_width=20, complete_style="cyan", finished_style="cyan", pulse_style="cyan"
            ),
            TextColumn("{task.fields[figure]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            console=console,
            auto_refresh=False,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, event: Event) -> None:
        """Draw the running jobs at most twice a second."""
        if event.what == "started":
            task = self._progress.add_task(
                escape(visible_line(event.job.name)), total=event.job.steps or None, figure=""
            )
            self._tasks[event.job.key] = (event.job, task)
        elif event.what == "running":
            if time.monotonic() - self._drawn < REFRESH_SECONDS:
                return
            self._drawn = time.monotonic()
            for job, task in self._tasks.values():
                row = newest_row(self._runs, job)
                if row is not None:
                    self._progress.update(task, completed=row["step"], figure=headline(row))
            self._progress.refresh()
        else:
            if event.job.key in self._tasks:
                self._progress.remove_task(self._tasks.pop(event.job.key)[1])
            self._progress.console.print(ending(event), markup=False, highlight=False)


def choose(console: Console, runs: Path) -> Display:
    """Return the live display in a capable terminal, plain lines anywhere else."""
    return (
        Live(console, runs)
        if console.is_terminal and not console.is_dumb_terminal
        else Lines(console, runs)
    )
