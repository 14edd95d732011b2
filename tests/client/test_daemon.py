"""The supervisor as a user has it: started, left alone, found again, stopped."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.client import queue as client
from engine.client.daemon import stop_supervisor
from engine.client.studies import drop
from engine.disk.heartbeat import lives, read_sign
from engine.disk.root import RunsRoot
from engine.errors import EnvironmentUnfit, InputError, Interrupted
from engine.jobs.lock import hold, holder
from engine.jobs.messages import Submission
from tests.jobs.conftest import asked, study_of


def call(root: RunsRoot, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engine", *words, "--runs", str(root.path)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def answer(root: RunsRoot, *words: str) -> Any:
    done = call(root, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def until(done: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not in {seconds} s"
        time.sleep(0.05)


def ended(root: RunsRoot, study: str = "s") -> bool:
    with contextlib.suppress(InputError, EnvironmentUnfit):
        return all(job["state"] in client.ENDED for job in client.jobs(root, study))
    return False


def states(root: RunsRoot, study: str = "s") -> dict[str, str]:
    return {job["name"]: job["state"] for job in client.jobs(root, study)}


@pytest.fixture
def root(tmp_path: Path) -> Iterator[RunsRoot]:
    found = RunsRoot(tmp_path / "runs")
    yield found
    if found.path.is_dir() and holder(found.lock_file) is not None:
        assert call(found, "down").returncode == 0


def submit(root: RunsRoot, asked_for: Submission) -> None:
    root.prepare()
    drop(root, asked_for)


def test_up_works_off_what_waits_and_down_leaves_it_for_the_next(root: RunsRoot) -> None:
    long = asked("long", config={"seconds": 60.0})
    submit(root, study_of(asked("short"), long))
    found = answer(root, "up")
    assert not found["already"]
    again = answer(root, "up")
    assert (again["already"], again["pid"]) == (True, found["pid"])
    until(lambda: root.run(long.directory).sign_file.exists() and states(root)["short"] == "done")
    assert answer(root, "down") == {"stopped": found["pid"]}
    assert states(root) == {"short": "done", "long": "queued"}
    assert answer(root, "down") == {"stopped": None}
    log = root.log_file.read_text()
    assert "long: saved and left" in log
    assert "every worker has left" in log


def test_everything_below_the_root_is_private(root: RunsRoot) -> None:
    submit(root, study_of(asked("one", config={"bytes": 10})))
    answer(root, "up")
    until(lambda: ended(root))
    answer(root, "down")
    for path in (root.path, *root.path.rglob("*")):
        wanted = 0o700 if path.is_dir() else 0o600
        assert path.stat().st_mode & 0o777 == wanted, path


def test_a_killed_supervisor_leaves_its_workers_and_the_next_one_takes_them_over(
    root: RunsRoot,
) -> None:
    job = asked("one", config={"seconds": 4.0})
    submit(root, study_of(job))
    first = answer(root, "up")["pid"]
    path = root.run(job.directory).sign_file
    until(lambda: read_sign(path) is not None)
    os.kill(first, signal.SIGKILL)
    sign = read_sign(path)
    assert sign is not None
    until(lambda: holder(root.lock_file) is None)
    found = client.health(root)
    assert found["problems"] == ["no supervisor is up: `husai-engine up` starts one"]
    assert lives(sign)
    assert answer(root, "up")["pid"] != first
    until(lambda: ended(root))
    assert states(root) == {"one": "done"}
    assert "attempt 1 taken over" in root.log_file.read_text()
    assert client.jobs(root, "s")[0]["attempt"] == 1


def test_a_terminal_that_hangs_up_leaves_the_study_running(root: RunsRoot) -> None:
    """As when an SSH connection drops: the shell's session gets SIGHUP and its terminal is gone."""
    job, later = asked("one", config={"seconds": 120.0}), asked("two", config={"seconds": 5.0})
    submit(root, study_of(job, later, asked("three", [later])))
    engine = f"{sys.executable} -m engine"
    pid, terminal = pty.fork()
    if pid == 0:
        script = f"{engine} up --runs {root.path}; exec {engine} watch s --runs {root.path}"
        os.execvp("bash", ["bash", "-c", script])
    said = b""
    while b"started" not in said and b"one" not in said:
        said += os.read(terminal, 4096)
    until(lambda: root.run(job.directory).sign_file.exists())
    os.close(terminal)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGHUP)
    os.waitpid(pid, 0)
    found = answer(root, "status")
    assert found["supervisor"]["state"] == "up"
    assert "one" in [running["name"] for running in found["running"]]
    until(lambda: states(root) == {"one": "running", "two": "done", "three": "done"})
    answer(root, "cancel", "s/one")
    until(lambda: ended(root))


FAILPOINTS = [
    ("worker", "write.before-fsync", 1),
    ("worker", "write.before-rename", 2),
    ("worker", "write.after-rename", 2),
    ("worker", "publish.before-rename", 1),
    ("worker", "publish.after-rename", 1),
    ("worker", "result.before-write", 1),
    ("supervisor", "write.before-rename", 2),
    ("supervisor", "write.after-rename", 2),
    ("supervisor", "queue.before-commit", 3),
    ("supervisor", "queue.after-commit", 2),
    ("supervisor", "queue.after-commit", 3),
]


@pytest.mark.parametrize(("role", "place", "nth"), FAILPOINTS)
def test_a_kill_at_any_named_place_loses_nothing(
    role: str, place: str, nth: int, root: RunsRoot, tmp_path: Path
) -> None:
    first = asked("first", config={"bytes": 100})
    jobs = [first, asked("second", [first], config={"bytes": 100, "reads": True}), asked("third")]
    submit(root, study_of(*jobs))
    token = tmp_path / "killed"
    armed = {"HUSAI_FAILPOINT": f"{role}:{place}:{nth}:kill", "HUSAI_FAILPOINT_ONCE": str(token)}

    def up_and_ended() -> bool:
        if holder(root.lock_file) is None:
            call(root, "up", **armed)
        return ended(root)

    until(up_and_ended)
    assert token.exists(), "it was really killed there"
    assert states(root) == dict.fromkeys(("first", "second", "third"), "done")
    with contextlib.closing(client_rows(root)) as queue:
        assert queue.execute("SELECT COUNT(*) FROM results").fetchone()[0] == 3
        assert queue.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert all(root.run(job.directory).sound() for job in jobs)


def client_rows(root: RunsRoot) -> Any:
    import sqlite3

    return sqlite3.connect(root.database)


@pytest.mark.parametrize(
    "place", ["write.before-fsync", "write.before-rename", "write.after-rename"]
)
def test_a_client_killed_while_it_submits_has_submitted_all_or_nothing(
    place: str, root: RunsRoot
) -> None:
    words = ("submit", "smoke")
    killed = call(root, *words, HUSAI_FAILPOINT=f"client:{place}:1:kill")
    assert killed.returncode == -signal.SIGKILL
    assert client.waiting_studies(root) == (["smoke"] if place == "write.after-rename" else [])
    assert call(root, *words).returncode == 0
    assert "smoke" in client.waiting_studies(root)


def test_a_foreground_run_is_no_supervisor_to_submit_to_or_to_stop(root: RunsRoot) -> None:
    root.prepare()
    with hold(root.lock_file, root.path, "foreground"):
        for words in (("up",), ("down",), ("run", "smoke")):
            done = call(root, *words)
            assert done.returncode == 3
            assert f"process {os.getpid()}" in done.stderr
            assert len(done.stderr.splitlines()) <= 3


def test_down_ends_no_process_that_only_has_the_number_of_a_supervisor(root: RunsRoot) -> None:
    """In another container, over a shared folder, the number is somebody else's."""
    root.prepare()
    words = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(words) as bystander, open(root.lock_file, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        json.dump({"pid": bystander.pid, "mode": "service", "started": "1"}, lock)
        lock.flush()
        with pytest.raises(EnvironmentUnfit, match="in another container"):
            stop_supervisor(root, wait=0.5)
        assert bystander.poll() is None
        bystander.kill()


def test_a_queue_that_is_damaged_while_it_is_worked_off_is_restored_at_once(
    root: RunsRoot,
) -> None:
    submit(root, study_of(*(asked(f"job {n}", config={"seconds": 1.0}) for n in range(4))))
    pid = answer(root, "up", "--profile", "cpu")["pid"]
    until(lambda: len(list(root.jobs.glob("*/worker.json"))) == 2)
    with open(root.database, "r+b") as file:
        file.write(b"\xff" * root.database.stat().st_size)
    until(lambda: ended(root), seconds=90.0)
    assert set(states(root).values()) == {"done"}
    assert (holder(root.lock_file) or {}).get("pid") == pid
    assert list(root.path.glob("queue.sqlite3.damaged-*"))


def test_run_hands_over_to_a_supervisor_that_is_up(
    root: RunsRoot, study_data: dict[str, Any], write_study: Callable[[dict[str, Any]], Path]
) -> None:
    answer(root, "up")
    study = write_study({**study_data, "analysis": {"surrogate": False}})
    done = call(root, "run", str(study), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["study"] == "tiny"
    assert set(states(root, "tiny").values()) == {"done"}
    assert holder(root.lock_file) is not None, "it is still up"
    found = answer(root, "watch", "tiny")
    assert found["failed"] == {}
    assert found["report"] == str(root.report("tiny"))


def test_a_study_that_a_supervisor_has_yet_to_take_is_waited_for(root: RunsRoot) -> None:
    root.prepare()
    drop(root, study_of(asked("one"), name="later"))
    asks = iter([False, False, True])
    with (
        hold(root.lock_file, root.path, "service"),
        pytest.raises(Interrupted, match="later goes on"),
    ):
        client.follow(root, "later", "", lambda event: None, lambda: next(asks))
    with pytest.raises(InputError, match="no such study"):
        client.follow(root, "later", "", lambda event: None, lambda: False)


def test_logs_show_control_characters_and_follow_to_the_end(root: RunsRoot) -> None:
    job = asked("one", config={"seconds": 1.0, "fail": "\x1b[2Jbroken"})
    submit(root, study_of(job))
    answer(root, "up")
    until(lambda: root.run(job.directory).log_file.exists() and bool(client.jobs(root)))
    done = call(root, "logs", "s/one", "-f")
    assert done.returncode == 0, done.stderr
    assert "\\x1b[2Jbroken" in done.stdout
    assert "\x1b" not in done.stdout
    (failed,) = client.jobs(root, "s")
    assert (failed["state"], failed["failure"]) == ("failed", "bug")
    assert failed["advice"]


def test_what_no_study_refers_to_can_be_removed(root: RunsRoot) -> None:
    kept, gone = asked("kept"), asked("gone", config={"bytes": 1000})
    submit(root, study_of(kept))
    submit(root, study_of(gone, name="t"))
    answer(root, "up")
    until(lambda: ended(root) and ended(root, "t"))
    assert answer(root, "gc") == {"garbage": [], "unknown": [], "removed_bytes": 0}
    (root.study("t") / "study.yaml").unlink()
    stray = root.path / "stray"
    stray.mkdir()
    (stray / "study.yaml").write_text("name: stray")
    assert answer(root, "gc")["unknown"] == ["stray"], "whatever it refers to is kept"
    (stray / "study.yaml").unlink()
    (found,) = answer(root, "gc")["garbage"]
    assert found["path"] == str(root.jobs / gone.directory)
    assert found["bytes"] > 1000
    assert answer(root, "gc", "--yes")["removed_bytes"] == found["bytes"]
    assert not (root.jobs / gone.directory).exists()
    assert (root.jobs / kept.directory).exists()


def test_orders_wait_for_a_supervisor_and_name_what_they_mean(root: RunsRoot) -> None:
    submit(root, study_of(asked("one")))
    assert answer(root, "pause", "s")["jobs"] == [], "its submission still waits"
    assert call(root, "pause", "nothing").returncode == 2
    answer(root, "up")
    until(lambda: not client.waiting_studies(root))
    until(lambda: [job["state"] for job in client.jobs(root)] == ["paused"])
    assert answer(root, "resume", "s/one")["jobs"] == [asked("one").directory]
    until(lambda: ended(root))


def test_reading_is_possible_while_a_commit_was_cut_off(root: RunsRoot) -> None:
    """The journal of a killed supervisor is rolled back by whoever comes first, even a reader."""
    submit(root, study_of(asked("one")))
    answer(root, "up")
    until(lambda: ended(root))
    answer(root, "down")
    code = (
        "import os, sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('PRAGMA journal_mode = TRUNCATE'); c.execute('PRAGMA cache_size = 1')\n"
        "c.execute('BEGIN IMMEDIATE')\n"
        "for n in range(2000): c.execute('INSERT INTO messages VALUES (?, 0)', (f'{n:0500}',))\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(root.database)], check=False)
    assert root.database.with_name("queue.sqlite3-journal").stat().st_size > 0
    assert states(root) == {"one": "done"}
