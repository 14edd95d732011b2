"""The one table of keys: it is the dispatch, the footer, the help, the palette and the keymap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Where = Literal[
    "everywhere", "table", "chart", "runs", "run", "compare", "features", "sweep", "logs", "system"
]
VIEWS: tuple[Where, ...] = ("runs", "run", "compare", "features", "sweep", "logs", "system")
"""The screens in the order of their digits."""
TITLES: Mapping[Where, str] = {
    "everywhere": "Everywhere",
    "table": "Tables",
    "chart": "Charts",
    "runs": "Runs & queue",
    "run": "Run",
    "compare": "Compare",
    "features": "Features",
    "sweep": "Sweep",
    "logs": "Logs",
    "system": "System",
}


@dataclass(frozen=True)
class Key:
    """Something that a person can do, and the keys for it."""

    action: str
    """Method `action_…` of the screen, widget or app it belongs to."""
    keys: str
    """Names as Textual writes them, separated by commas; the first is the one shown."""
    title: str
    """What it does, for help and palette: a verb first."""
    where: Where
    """Where it works."""
    short: str = ""
    """One word for the footer; empty: not shown there."""
    writes: bool = False
    """Whether it changes something outside the app: refused under `--readonly`."""
    always: bool = False
    """Whether it works over dialogs and while text is typed, too."""

    @property
    def id(self) -> str:
        """Name in the user's keymap: `where.action`, with the argument of the action where it has one."""
        return f"{self.where}.{self.action.replace('(', '_').replace(')', '').replace(chr(39), '')}"

    @property
    def shown(self) -> str:
        """The first of its keys as people write it."""
        return shown(self.keys.split(",")[0])


_SYMBOLS = {
    "question_mark": "?",
    "colon": ":",
    "slash": "/",
    "minus": "-",
    "plus": "+",
    "underscore": "_",
    "equals_sign": "=",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "comma": ",",
    "full_stop": ".",
    "enter": "↵",
    "space": "␣",
    "escape": "esc",
    "left": "←",
    "right": "→",
    "up": "↑",
    "down": "↓",
    "pageup": "pgup",
    "pagedown": "pgdn",
    "tab": "⇥",
    "semicolon": ";",
    "apostrophe": "'",
}


def shown(key: str) -> str:
    """Return a key as people write it: `ctrl+p` as `^p`, `question_mark` as `?`."""
    if key.startswith("ctrl+"):
        return f"^{key.removeprefix('ctrl+')}"
    if key.startswith("shift+"):
        return f"⇧{key.removeprefix('shift+')}"
    return _SYMBOLS.get(key, key)


_EVERYWHERE = (
    *(
        Key(f"view('{view}')", str(number), f"show {TITLES[view]}", "everywhere")
        for number, view in enumerate(VIEWS, 1)
    ),
    Key("help", "question_mark,f1", "show the keys that work here", "everywhere", "help"),
    Key("command_palette", "colon,ctrl+p", "find a command by its name", "everywhere"),
    Key("filter", "slash", "show only what matches", "everywhere", "filter"),
    Key(
        "yank",
        "y",
        "copy the row, the address or the command",
        "everywhere",
    ),
    Key("export", "E", "export this view: CSV, JSON, SVG or text", "everywhere"),
    Key("describe", "a", "say in a sentence what is shown", "everywhere"),
    Key("maximise", "z", "give one panel all the room, and back", "everywhere"),
    Key("last_view", "minus", "go to the screen before", "everywhere"),
    Key("redraw", "ctrl+l", "paint everything anew", "everywhere", always=True),
    Key("theme", "T", "take the next theme", "everywhere"),
    Key(
        "suspend_process",
        "ctrl+z",
        "put the app to sleep; `fg` wakes it",
        "everywhere",
        always=True,
    ),
    Key("close_up", "escape", "leave what is open; clear the filter", "everywhere"),
    Key("leave", "q,ctrl+c", "close the app; all work goes on", "everywhere", "close"),
    Key("quit", "ctrl+q", "close the app, out of a dialog, too", "everywhere", always=True),
)
_TABLE = (
    Key("move(1)", "j,down", "go down", "table"),
    Key("move(-1)", "k,up", "go up", "table"),
    Key("page(1)", "ctrl+f,pagedown", "go down a page", "table"),
    Key("page(-1)", "ctrl+b,pageup", "go up a page", "table"),
    Key("half(1)", "ctrl+d", "go down half a page", "table"),
    Key("half(-1)", "ctrl+u", "go up half a page", "table"),
    Key("first", "g,home", "go to the first row", "table"),
    Key("last", "G,end", "go to the last row", "table"),
    Key("shift(-1)", "h,left", "show the columns to the left", "table"),
    Key("shift(1)", "l,right", "show the columns to the right", "table"),
    Key("choose", "enter", "open the row", "table", "open"),
    Key("sort(1)", "s", "sort by the next column", "table"),
    Key("sort(-1)", "S", "sort by the column before", "table"),
    Key("reverse", "r", "turn the order round", "table"),
)
_RUNS = (
    Key("mark", "space", "mark the row, and go down", "runs"),
    Key("pause", "p", "pause the job, or let it go on", "runs", "pause", writes=True),
    Key("cancel", "x", "cancel the job", "runs", "cancel", writes=True),
    Key("retry", "R", "try the job again", "runs", writes=True),
    Key("raise", "K", "let the job go earlier", "runs", writes=True),
    Key("lower", "J", "let the job go later", "runs", writes=True),
    Key("logs", "L", "read the job's log", "runs"),
    Key("digest", "d", "say what happened while nobody looked", "runs"),
    Key("engine", "u", "start the supervisor", "runs", writes=True),
)
_CHART: tuple[Key, ...] = (
    Key("panel(1)", "tab,n,j,down", "go to the next panel", "chart", "panel"),
    Key("panel(-1)", "shift+tab,N,k,up", "go to the panel before", "chart"),
    Key("zoom(1)", "plus,equals_sign", "show less at once", "chart", "zoom"),
    Key("zoom(-1)", "underscore", "show more at once", "chart"),
    Key("pan(-1)", "left,h", "show what is to the left", "chart"),
    Key("pan(1)", "right,l", "show what is to the right", "chart"),
    Key("reset", "0", "show everything, without the cursor", "chart"),
    Key("scrub(-1)", "comma", "move the cursor to the left, in all panels", "chart"),
    Key("scrub(1)", "full_stop", "move the cursor to the right", "chart"),
    Key("scrub(-10)", "semicolon", "move the cursor far to the left", "chart", "scrub"),
    Key("scrub(10)", "apostrophe", "move the cursor far to the right", "chart"),
    Key("smooth(1)", "greater_than_sign", "smooth the curves more", "chart"),
    Key("smooth(-1)", "less_than_sign", "smooth the curves less", "chart"),
    Key("change('log')", "L", "make the vertical axis logarithmic, or linear", "chart"),
    Key("change('axis')", "t", "measure by steps, or by time", "chart"),
    Key("change('band')", "b", "draw median and range, or a line per seed", "chart"),
)

_RUN: tuple[Key, ...] = (
    Key("job(1)", "right_square_bracket", "show the next job of the study", "run"),
    Key("job(-1)", "left_square_bracket", "show the job before", "run"),
    Key("flag", "e", "go to the next red flag", "run"),
    Key("logs", "o", "read the log of this job", "run"),
)

_COMPARE = (
    Key("metric", "m", "measure agreement by the next metric", "compare", "metric"),
    Key("subset", "u", "take all features, or the live ones", "compare", "live/all"),
    Key("pin", "P", "pin the cohort as the baseline, or none", "compare", "pin"),
    Key("differences", "d", "show differences to the baseline", "compare", "differ"),
    Key("warnings", "w", "read the warnings on the cohort", "compare", "warnings"),
    Key("evidence", "x", "read all that the verdict rests on", "compare"),
    Key("guide", "i", "read what the numbers mean", "compare"),
    Key("study(1)", "c", "show the next study", "compare"),
    Key("study(-1)", "C", "show the study before", "compare"),
)

_FEATURES = (
    Key("cohort", "c", "show the next cohort of the study", "features", "cohort"),
    Key("choose_cohort", "C", "choose a study and a cohort", "features"),
    Key(
        "seed(1)",
        "right_square_bracket",
        "show the next seed alone; in a card its match there",
        "features",
        "seed",
    ),
    Key(
        "seed(-1)",
        "left_square_bracket",
        "show the seed before alone; in a card its match there",
        "features",
    ),
    Key("map", "m", "compute the map of the card anew", "features"),
)

_SWEEP = (
    Key("go(1)", "j,down", "go to the next line", "sweep"),
    Key("go(-1)", "k,up", "go to the line before", "sweep"),
    Key("go(-99)", "g,home", "go to the first line", "sweep"),
    Key("go(99)", "G,end", "go to the last line", "sweep"),
    Key("type", "enter", "type into the line, or take its next choice", "sweep", "edit"),
    Key("flip", "space", "turn the option, the switch or the choice", "sweep"),
    Key("step(-1)", "h,left", "take the choice before; go to the option before", "sweep"),
    Key("step(1)", "l,right", "take the next choice; go to the next option", "sweep"),
    Key("queue", "ctrl+s", "queue the study", "sweep", "queue", writes=True),
    Key("preset", "p", "start from a preset or a study", "sweep", "preset"),
    Key("edit_yaml", "e", "edit the study as YAML in $EDITOR", "sweep", "$EDITOR"),
    Key("show_yaml", "v", "show the study as YAML", "sweep"),
    Key("undo", "u", "undo the last change", "sweep"),
    Key("fresh", "n", "start afresh", "sweep"),
    Key("write", "w", "write the study to ./NAME.yaml", "sweep"),
)

_LOGS = (
    Key("move(1)", "j,down", "go down a line", "logs"),
    Key("move(-1)", "k,up", "go up a line", "logs"),
    Key("page(1)", "ctrl+f,pagedown,space", "go down a page", "logs"),
    Key("page(-1)", "ctrl+b,pageup", "go up a page", "logs"),
    Key("half(1)", "ctrl+d", "go down half a page", "logs"),
    Key("half(-1)", "ctrl+u", "go up half a page", "logs"),
    Key("first", "g,home", "go to the first line", "logs"),
    Key("last", "G,end", "go to the last line, and follow", "logs"),
    Key("shift(-1)", "h,left", "show what is further left", "logs"),
    Key("shift(1)", "l,right", "show what is further right", "logs"),
    Key("follow", "f", "follow the log, or stay here", "logs", "follow"),
    Key("next_trouble(1)", "e", "go to the next error or warning", "logs", "error"),
    Key("next_trouble(-1)", "p", "go to the error or warning before", "logs"),
    Key("next_match(1)", "n", "go to the next match", "logs", "next"),
    Key("next_match(-1)", "N", "go to the match before", "logs"),
    Key("wrap", "w", "wrap long lines, or cut them", "logs", "wrap"),
    Key("job(-1)", "left_square_bracket", "show the log of the job before, in its study", "logs"),
    Key("job(1)", "right_square_bracket", "show the log of the next job of the study", "logs"),
    Key("supervisor", "s", "show the supervisor's log", "logs"),
)

_SYSTEM = (
    Key("go(1)", "j,down", "go down", "system"),
    Key("go(-1)", "k,up", "go up", "system"),
    Key("go(-999)", "home", "go to the first row", "system"),
    Key("go(999)", "G,end", "go to the last row", "system"),
    Key("take", "enter", "take the profile for the next sweep and engine", "system", "profile"),
    Key("examine", "D", "examine this machine again", "system", "doctor"),
    Key("collect", "g", "see what can be removed from the runs root", "system", "garbage"),
)

KEYS: tuple[Key, ...] = (
    *_EVERYWHERE,
    *_TABLE,
    *_CHART,
    *_RUNS,
    *_RUN,
    *_COMPARE,
    *_FEATURES,
    *_SWEEP,
    *_LOGS,
    *_SYSTEM,
)


def keys_of(*where: Where) -> list[Key]:
    """Return the keys that work in some places, in the order of the table."""
    return [key for key in KEYS if key.where in where]


def clashes(keymap: Mapping[str, str]) -> list[str]:
    """Return a line for each entry of a keymap that cannot be used: unknown name, or keys that are taken.

    A key may mean one thing everywhere or one thing per place; what works everywhere takes it for all places.
    """
    known = {key.id: key for key in KEYS}
    lines = [f"keymap: {name}: no such key; `?` shows them" for name in keymap if name not in known]
    taken: dict[tuple[str, str], str] = {}
    for key in KEYS:
        for one in keymap.get(key.id, key.keys).split(","):
            for place in _places(key.where):
                other = taken.setdefault((place, one.strip()), key.id)
                blamed, owner = (key.id, other) if key.id in keymap else (other, key.id)
                if other != key.id and blamed in keymap:
                    lines.append(f"keymap: {blamed}: {one.strip()} is the key of {owner}")
    lines += [f"keymap: {name}: no key is given" for name in keymap if not keymap[name].strip(" ,")]
    return list(dict.fromkeys(lines))


def _places(where: Where) -> Iterable[Where]:
    if where == "everywhere":
        return ("everywhere", "table", "chart", *VIEWS)
    # A panel has its keys on every screen that has one.
    return (where, *VIEWS) if where in ("table", "chart") else (where,)
