"""Sweep: where a study begins, its YAML, and the way into the queue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from textual.binding import Binding

from engine.client.daemon import start_supervisor
from engine.client.studies import list_studies, submit_plan
from engine.disk.atomic import write_bytes
from engine.errors import HusaiError
from husai_tui.bindings import bindings
from husai_tui.export import Exported
from husai_tui.screens.dialogs import Confirm, Reading
from husai_tui.screens.drafting import Drafting
from husai_tui.screens.editor import hand_over, read_back, write_aside, yaml_text
from husai_tui.screens.pick import Pick
from husai_tui.state.draft import Data
from husai_tui.state.estimate import Estimate, fault_text, told
from husai_tui.state.meter import plural
from husai_tui.state.picking import PickRows
from husai_tui.state.start import read_start, reproduce
from husai_tui.state.sweep import Form
from husai_tui.widgets.table import Column

FIRST = "topk-vs-relu"
"""The preset that is there when nothing is remembered."""
PICK_COLUMNS = (
    Column("study", 18, sorts=False),
    Column("SAEs", 6, right=True, sorts=False),
    Column("from", 9, rank=1, sorts=False),
    Column("what it asks", 20, grows=True, rank=2, sorts=False),
)
EXPORTED = (
    "name",
    "kind",
    "state",
    "steps",
    "slots",
    "threads",
    "memory_bytes",
    "disk_bytes",
    "key",
)


class Sweep(Drafting):
    """A study that is being written."""

    BINDINGS: ClassVar[list[Binding]] = bindings("sweep")  # type: ignore[assignment]
    run_editor: Callable[[Any, Path], None] = staticmethod(hand_over)
    """Lets the user edit a file."""

    # Presets, YAML, files

    def open(self, target: str) -> None:
        """Start from a preset or a study of the runs root."""
        try:
            data, text = read_start(target, self.session.root.path)
        except (HusaiError, OSError) as error:
            self.app.notify(str(error), severity="error", markup=False)
            return
        self._form.start(data, target, text)
        self._touch()

    def action_preset(self) -> None:
        """Pick a preset or a study to start from."""

        def answered(name: str | None) -> None:
            if name:
                self.open(name)

        def pick(rows: PickRows) -> None:
            self.app.push_screen(Pick("Start from", PICK_COLUMNS, rows), answered)

        def read() -> None:
            try:
                rows = PickRows(list_studies(self.session.root.path))
            except (HusaiError, OSError) as error:
                self.app.call_from_thread(self.fail, str(error))
                return
            self.app.call_from_thread(pick, rows)

        self.run_worker(read, thread=True, exit_on_error=False, group="presets", exclusive=True)

    def action_show_yaml(self) -> None:
        """Show the study as YAML."""
        self._form.commit()
        self.app.push_screen(
            Reading(f"{self._form.name or 'study'}.yaml", yaml_text(self._form.yaml))
        )

    def action_edit_yaml(self) -> None:
        """Edit the study in the user's editor, and take back what was written."""
        self._form.commit()
        before = self._form.broken or self._form.yaml
        try:
            path = write_aside(before, self.session.folder / "drafts")
            self.run_editor(self.app, path)
            text = read_back(path)
        except (HusaiError, OSError) as error:
            self.app.notify(str(error), severity="error", markup=False)
            return
        if text != before and (wrong := self._form.take(text)):
            self.app.notify(
                f"{wrong}\nyour text is kept: e opens it again" if self._form.broken else wrong,
                title="YAML",
                severity="error",
                markup=False,
            )
        path.unlink(missing_ok=True)
        self.app.refresh(repaint=True, layout=True)
        self._touch()

    def action_write(self) -> None:
        """Write the study to a file named after it, never over another without asking."""
        self._form.commit()
        wrong = next((f for f in self._form.faults if f.where == "name"), None)
        if wrong is not None or not self._form.name:
            self.app.notify(
                f"no file: name: {fault_text(wrong) if wrong else 'is missing'}",
                severity="error",
                markup=False,
            )
            return
        path = Path(f"{self._form.name}.yaml")

        def write(yes: bool | None) -> None:
            if not yes:
                return
            try:
                write_bytes(path, self._form.yaml.encode())
            except OSError as error:
                self.app.notify(f"{path}: {error.strerror}", severity="error", markup=False)
                return
            self.app.notify(str(path.resolve()), title="written", markup=False)

        if path.exists():
            self.app.push_screen(Confirm(f"{path.resolve()} is there already. Replace it?"), write)
        else:
            write(True)

    # The queue

    def action_queue(self) -> None:
        """Queue the study as soon as its plan is known to fit; start the engine if none answers."""
        self._form.commit()
        if self.session.readonly:
            self.app.notify("read-only: nothing was queued", severity="warning")
        elif not self._form.sound:
            self._form.go_to_fault()
            said = (
                "the edited YAML cannot be read"
                if self._form.broken
                else str(self._form.every_fault()[0])
            )
            self.app.notify(f"not queued: {said}", severity="error")
        elif self._made == self._known:
            self._enqueue(self._found)
        else:
            self._wanted = self._form.key
            self._plan()
        self._touch()

    def _enqueue(self, found: Estimate) -> None:
        wrong = found.unfit or (str(found.fault).removeprefix(": ") if found.fault else "")
        if wrong or found.plan is None:
            self._form.go_to_fault()
            self.app.notify(
                f"not queued: {wrong or 'it is not planned'}", severity="error", markup=False
            )
            self._paint()
        elif found.replaces:
            question = f"{found.replaces[:1].upper()}{found.replaces[1:]}.\nQueue it all the same?"
            self.app.push_screen(
                Confirm(question), lambda yes: self._submit(found) if yes else None
            )
        else:
            self._submit(found)

    def _submit(self, found: Estimate) -> None:
        plan, priority = found.plan, self._form.priority
        assert plan is not None, "only what was planned is queued"
        root, profile = self.session.root, self._form.profile
        said = f"{plural(found.saes, 'SAE')}, {plural(len(plan.jobs), 'job')}"
        starts = self.husai.starts_engine

        def work() -> None:
            submit_plan(plan, root.path, priority)
            rest = "1 shows it" if starts else "1 shows it; u there starts the engine"
            self.app.call_from_thread(
                self.app.notify, f"{plan.study.name}: {said}; {rest}", title="queued", markup=False
            )
            if starts:
                start_supervisor(root, profile)

        self.husai.give(work)

    # What every view has

    @property
    def target(self) -> str:
        """The preset or study that it began with."""
        return self._form.origin

    @property
    def command(self) -> str:
        """The command that plans the same study."""
        start: Data | None = None
        try:
            start = read_start(self._form.origin, self.session.root.path)[0]
        except (HusaiError, OSError):
            start = None
        return reproduce(self._form, "plan", start, self.session.runs_option)

    def describe(self) -> str:
        """Return the study, what is wrong with it, and its plan."""
        form = self._form
        wrong = "; ".join(f"{fault.where}: {fault_text(fault)}" for fault in form.faults)
        start = f"from {form.origin}" if form.origin else "a new study"
        said = f"it is wrong at {wrong}" if wrong else told(self._found)
        return f"Study {form.name or 'without a name'}, {start}{', edited' * form.edited}: {said}."

    def row_text(self) -> str:
        """Return the setting under the cursor."""
        one = self._form.at
        return f"{one.name}: {', '.join(self._form.chosen(one)) or self._form.shown(one).text}"

    def exported(self) -> Exported | None:
        """Return the jobs of the plan."""
        plan = self._found.plan
        if plan is None:
            return None
        rows = []
        for job in plan.jobs:
            state = "cached" if job.key in self._found.cached else "to do"
            sizes = (job.steps, job.slots, job.threads, job.memory_bytes, job.disk_bytes)
            rows.append((job.name, job.kind, state, *sizes, job.key))
        return Exported(f"plan-{plan.study.name}", EXPORTED, rows, self.command)

    def back(self) -> bool:
        """Leave the plan; ask before a text that does not parse is dropped."""
        if self.has_class("-plan"):
            self.maximise()
            return True
        if self._form.broken:

            def answered(yes: bool | None) -> None:
                if yes:
                    self._form.drop_broken()
                    self._touch()

            self.app.push_screen(Confirm("Drop the edited YAML, which cannot be read?"), answered)
            return True
        return False

    def remember(self) -> dict[str, Any]:
        """Return the draft."""
        self._form.commit()
        return self._form.remember()

    def recall(self, remembered: dict[str, Any]) -> None:
        """Take the draft of the last time, or the first preset."""
        if remembered.get("yaml"):
            self._form.recall(remembered)
        else:
            data, text = read_start(FIRST, self.session.root.path)
            self._form = Form(profile=self._form.profile, data=data, origin=FIRST, text=text)
