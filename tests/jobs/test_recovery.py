"""What happens when things go wrong: real workers, real signals, real files."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from engine.disk.heartbeat import Heartbeat, Sign, boot_id, lives, read_sign, start_of
from engine.disk.rundir import RunDirectory
from engine.errors import EnvironmentUnfit, Superseded
from engine.jobs.launch import LocalHandle, LocalLauncher
from engine.jobs.lock import hold, holder
from engine.jobs.schema import back_up
from engine.jobs.service import open_or_restore
from engine.jobs.workers import Lease
from tests.jobs.bench import Bench, limited
from tests.jobs.conftest import QUICK, asked, study_of

SHORT, LONG = {"seconds": 0.0}, {"seconds": 2.0}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "runs")
    yield made
    made.close()


def test_a_killed_worker_is_replaced_and_the_job_has_one_result(bench: Bench) -> None:
    job = asked("one", config=LONG)
    bench.submit(study_of(job))
    os.kill(bench.sign(job).pid, signal.SIGKILL)
    assert bench.until_ended() == {"one": "done"}
    assert (bench.find(job).attempt, bench.results()) == (2, 1)
    log = bench.run(job).log_file.read_text()
    assert log.count("done in") == 1


def test_a_worker_that_outlives_its_supervisor_is_taken_over(bench: Bench) -> None:
    job = asked("one", config=LONG)
    bench.submit(study_of(job))
    pid = bench.sign(job).pid
    bench.restart()
    bench.until(lambda: bool(bench.supervisor.running))
    assert bench.supervisor.running[0].adopted
    assert bench.until_ended() == {"one": "done"}
    sign = read_sign(bench.run(job).sign_file)
    assert sign is not None
    assert (sign.pid, bench.find(job).attempt) == (pid, 1), "nothing was done twice"


def test_what_a_worker_finished_while_nobody_watched_counts(bench: Bench) -> None:
    job = asked("one", config=SHORT)
    bench.submit(study_of(job))
    bench.sign(job)
    deadline = time.monotonic() + 30
    while not bench.run(job).done() and time.monotonic() < deadline:
        time.sleep(0.02)
    bench.restart()
    assert bench.until_ended() == {"one": "done"}
    assert bench.find(job).attempt == 1


def test_a_silent_worker_is_ended_after_its_lease_and_replaced(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "runs", replace(QUICK, lease_seconds=1.5))
    job = asked("one", config=LONG)
    bench.submit(study_of(job))
    sign = bench.sign(job)
    os.kill(sign.pid, signal.SIGSTOP)
    assert bench.until_ended() == {"one": "done"}
    assert not lives(sign)
    assert (bench.find(job).attempt, bench.results()) == (2, 1)


def test_a_worker_that_computes_without_a_sign_is_left_alone(tmp_path: Path) -> None:
    """As the assignment of two large dictionaries does: no other thread runs meanwhile."""
    bench = Bench(tmp_path / "runs", replace(QUICK, lease_seconds=1.5))
    job = asked("one", config={"hold": 500_000_000})
    bench.submit(study_of(job))
    sign = bench.sign(job)
    quiet = 0
    while not bench.run(job).done() and lives(sign):
        bench.supervisor.careful_tick()
        quiet += read_sign(bench.run(job).sign_file) == sign
        time.sleep(0.1)
    assert quiet > 20, "it was silent for longer than its lease"
    assert bench.until_ended() == {"one": "done"}
    assert bench.find(job).attempt == 1


def test_the_lease_counts_silence_not_our_own_sleep() -> None:
    lease = Lease(5.0)
    assert not lease.look("beat 1", 3600.0)
    assert not lease.look("beat 1", 3600.0), "it was we who slept for an hour"
    assert not lease.look("beat 1", 2.0)
    assert not lease.look("beat 2", 3600.0), "a sign of life"
    assert not lease.look("beat 2", 2.0)
    assert not lease.look("beat 2", 2.0)
    assert lease.look("beat 2", 2.0), "three looks of two seconds each"


def test_moving_the_clock_by_an_hour_takes_no_job_from_its_worker(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = asked("one", config=LONG)
    bench.submit(study_of(job))
    sign = bench.sign(job)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600.0)
    assert bench.until_ended() == {"one": "done"}
    assert bench.find(job).attempt == 1
    assert "time" not in asdict(sign), "no clock of the worker's is ever compared"


def test_a_process_is_more_than_its_number() -> None:
    mine = Sign(1, os.getpid(), start_of(os.getpid()) or "", boot_id())
    assert lives(mine)
    assert not lives(replace(mine, started="1")), "the number was given to another process"
    assert not lives(replace(mine, boot="another")), "the machine was started anew"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_may_have_a_name_that_is_cut_in_a_letter(tmp_path: Path) -> None:
    program = tmp_path / "обучение"
    program.symlink_to(shutil.which("sleep") or "/bin/sleep")
    with subprocess.Popen([program, "60"]) as process:
        assert start_of(process.pid)
        process.kill()


def test_after_a_reboot_running_jobs_are_queued_again(bench: Bench) -> None:
    job = asked("one", config=SHORT)
    bench.submit(study_of(job))
    bench.sign(job)
    bench.until_ended()
    # As it lies there when the machine went down in the middle of attempt 1.
    bench.run(job).result_file.unlink()
    connection = bench.queue.connection
    connection.execute("UPDATE jobs SET state = 'running'")
    connection.execute("DELETE FROM results")
    sign = Sign(1, os.getpid(), start_of(os.getpid()) or "", "another boot")
    bench.run(job).sign_file.write_text(json.dumps(asdict(sign)))
    bench.restart()
    assert bench.until_ended() == {"one": "done"}
    assert (bench.find(job).attempt, bench.results()) == (2, 1)


def test_a_superseded_worker_publishes_nothing_and_leaves_no_word(bench: Bench) -> None:
    job = asked("one", config=LONG)
    run = bench.run(job)
    run.create(json.loads(job.file.model_dump_json()))
    run.begin_attempt(1)
    handle: LocalHandle = LocalLauncher(leash=False).start(run, 1)
    deadline = time.monotonic() + 30
    while read_sign(run.sign_file) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    run.begin_attempt(2)
    while (code := handle.poll()) is None:
        time.sleep(0.02)
    assert code == Superseded.exit_code
    assert not run.done()
    assert not run.artifacts.exists()
    assert not run.error_file.exists(), "the directory belongs to the other attempt"


def test_a_superseded_attempt_publishes_no_checkpoint(tmp_path: Path) -> None:
    stale = RunDirectory(tmp_path, attempt=1)
    stale.begin_attempt(2)
    (stale.begin_checkpoint(5) / "state").write_text("x")
    with pytest.raises(Superseded):
        stale.publish_checkpoint(5)
    assert stale.newest_checkpoint() is None


def test_heartbeats_of_a_superseded_worker_do_not_speak_for_the_next(tmp_path: Path) -> None:
    path = tmp_path / "worker.json"
    with Heartbeat(path, 1, every=0.02), Heartbeat(path, 2, every=60.0):
        time.sleep(0.2)
        sign = read_sign(path)
        assert sign is not None
        assert (sign.attempt, sign.beat) == (2, 0)
    with Heartbeat(path, 3, every=0.02):
        time.sleep(0.3)
        sign = read_sign(path)
        assert sign is not None
        assert sign.beat > 2


def test_a_full_disk_pauses_the_queue_which_goes_on_by_itself(small_disk: Path) -> None:
    filler = small_disk / "filler"
    bench = Bench(small_disk / "runs", replace(QUICK, reserve_bytes=4 << 20))
    filler.write_bytes(bytes(9 << 20))
    job = asked("one", config=SHORT)
    bench.submit(study_of(job))
    bench.until(lambda: "MB of disk are free" in bench.supervisor.trouble)
    assert bench.find(job).state == "queued"
    filler.unlink()
    assert bench.until_ended() == {"one": "done"}
    assert bench.supervisor.trouble == ""


def test_a_worker_that_meets_a_full_disk_is_tried_again_once_there_is_space(
    small_disk: Path,
) -> None:
    filler = small_disk / "filler"
    bench = Bench(small_disk / "runs", replace(QUICK, reserve_bytes=2 << 20))
    filler.write_bytes(bytes(8 << 20))
    job = asked("one", config={"bytes": 6 << 20})
    bench.submit(study_of(job))
    bench.until(lambda: any(one.attempt > 6 for one in bench.jobs()))
    assert bench.find(job).failure == "disk"
    filler.unlink()
    assert bench.until_ended() == {"one": "done"}


def test_a_queue_that_cannot_be_written_for_want_of_space_loses_nothing(small_disk: Path) -> None:
    filler = small_disk / "filler"
    bench = Bench(small_disk / "runs")
    jobs = [asked(f"job {number}", config={"seconds": 0.5}) for number in range(3)]
    bench.submit(study_of(*jobs))
    bench.sign(jobs[0])
    fill(filler)
    for _ in range(60):
        bench.supervisor.careful_tick()
        time.sleep(0.02)
    assert bench.supervisor.trouble
    filler.unlink()
    assert set(bench.until_ended().values()) == {"done"}
    assert bench.results() == 3
    assert bench.queue.connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def fill(path: Path) -> None:
    """Take all the space that is left."""
    with contextlib.suppress(OSError), open(path, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of twelve megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(words, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount here")
    if done.returncode:
        pytest.skip("only root may mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_limit_on_files_is_told_as_one_and_given_up_after_four_tries(bench: Bench) -> None:
    job = asked("one", config={"bytes": 4 << 20})
    bench.submit(study_of(job))
    with limited(resource.RLIMIT_FSIZE, 1 << 20):
        assert bench.until_ended() == {"one": "failed"}
    found = bench.find(job)
    assert (found.failure, found.attempt) == ("disk", 4)


class Narrow(LocalLauncher):
    """Gives each worker two gigabytes of addresses."""

    def start(self, run: RunDirectory, attempt: int, gpu: str = "") -> LocalHandle:
        handle = super().start(run, attempt, gpu)
        resource.prlimit(handle.pid, resource.RLIMIT_AS, (2 << 30, 2 << 30))
        return handle


def test_out_of_memory_is_tried_once_more_alone_with_the_same_numerics(bench: Bench) -> None:
    bench.restart(Narrow(leash=False))
    job = asked("one", config={"seconds": 0.3, "allocate": 8 << 30})
    other = asked("other", config=LONG)
    bench.submit(study_of(job, other))
    bench.until(lambda: any(one.alone for one in bench.jobs()))
    before = bench.run(job).read_job()
    assert bench.until_ended() == {"one": "failed", "other": "done"}
    found = bench.find(job)
    assert (found.failure, found.attempt) == ("memory", 2)
    assert bench.run(job).read_job() == before, "never with other threads or another batch"
    started = [event.job.name for event in bench.events if event.what == "started"]
    ended = [event.job.name for event in bench.events if event.what in ("done", "failed")]
    assert started == ["one", "other", "one"]
    assert ended == ["other", "one"], "the second attempt waited until it could be alone"


def test_a_damaged_input_is_made_again(bench: Bench) -> None:
    first = asked("first", config={"bytes": 100})
    second = asked("second", [first], config={"reads": True})
    bench.submit(study_of(first, second))
    bench.until(lambda: bool(bench.jobs()) and bench.find(first).state == "done")
    (bench.run(first).artifacts / "zeros").write_bytes(b"\1" * 100)
    assert bench.until_ended() == {"first": "done", "second": "done"}
    assert (bench.run(first).artifacts / "zeros").read_bytes() == bytes(100)
    assert bench.find(first).attempt == 2


def test_two_supervisors_are_one_too_many(tmp_path: Path) -> None:
    lock = tmp_path / ".runner"
    assert holder(lock) is None
    with hold(lock, tmp_path, "service"):
        us = os.getpid()
        assert holder(lock) == {"pid": us, "mode": "service", "started": start_of(us)}
        said = f"process {os.getpid()} is executing there"
        with pytest.raises(EnvironmentUnfit, match=said), hold(lock, tmp_path, "service"):
            pass
    assert holder(lock) is None


def test_the_lock_goes_with_a_holder_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from engine.jobs.lock import hold\n"
        "with hold(Path(sys.argv[1]), Path('.'), 'service'):\n    print('held', flush=True); time.sleep(60)"
    )
    lock = tmp_path / ".runner"
    process = subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    found = {"pid": process.pid, "mode": "service", "started": start_of(process.pid)}
    assert holder(lock) == found
    process.kill()
    process.communicate()
    assert holder(lock) is None


def test_a_locked_queue_stops_nothing_that_runs(bench: Bench) -> None:
    job = asked("one", config=SHORT)
    bench.submit(study_of(job))
    bench.sign(job)
    other = sqlite3.connect(bench.root.database, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(3.0, lambda: other.execute("ROLLBACK"))
    release.start()
    while release.is_alive():
        bench.supervisor.careful_tick()
        if release.is_alive():
            assert "locked" in bench.supervisor.trouble
    assert bench.until_ended() == {"one": "done"}
    assert (bench.find(job).attempt, bench.results()) == (1, 1)
    release.join()
    other.close()


def test_a_damaged_queue_is_restored_from_its_copy_and_the_messages_since(bench: Bench) -> None:
    one, two = asked("one", config=SHORT), asked("two", config=SHORT)
    bench.submit(study_of(one))
    bench.until_ended()
    bench.queue.connection.execute(f"VACUUM INTO '{bench.root.backup}'")
    bench.submit(study_of(two, name="t"))
    bench.until_ended("t")
    bench.queue.close()
    bench.root.database.write_bytes(b"\xff" * 20_000)
    open_or_restore(bench.root, bool).close()
    bench.restart()
    assert bench.until_ended() == {"one": "done"}
    assert bench.until_ended("t") == {"two": "done"}
    assert bench.results() == 2
    assert bench.find(two).attempt == 1, "its result was found, not made again"
    assert list(bench.root.path.glob("queue.sqlite3.damaged-*")), "the damaged one is kept"


@pytest.mark.parametrize("how", ["removed", "emptied", "set aside", "killed", "without a copy"])
def test_a_lost_queue_is_restored_however_it_was_lost(
    how: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(name: str) -> None:
        raise KeyboardInterrupt

    one, two = asked("one", config=SHORT), asked("two", config=SHORT)
    bench.submit(study_of(one))
    bench.until_ended()
    if how != "without a copy":
        back_up(bench.queue.connection, bench.root.backup)
    bench.submit(study_of(two, name="t"))
    bench.until_ended("t")
    bench.queue.close()
    journal = bench.root.path / "queue.sqlite3-journal"
    journal.write_bytes(b"\xff" * 4096)
    if how == "emptied":
        bench.root.database.write_bytes(b"")
    elif how == "set aside":
        bench.root.database.rename(bench.root.path / "queue.sqlite3.damaged-1")
    else:
        bench.root.database.unlink()
    if how == "killed":
        with monkeypatch.context() as patched:
            patched.setattr("engine.jobs.service.failpoint", killed)
            with pytest.raises(KeyboardInterrupt):
                open_or_restore(bench.root, bool)
    open_or_restore(bench.root, bool).close()
    bench.restart()
    assert bench.until_ended() == {"one": "done"}
    assert bench.until_ended("t") == {"two": "done"}
    assert bench.results() == 2
    assert [bench.find(job).attempt for job in (one, two)] == [1, 1]


def test_a_running_job_can_be_paused_resumed_and_cancelled(bench: Bench) -> None:
    one, two = asked("one", config={"seconds": 60.0}), asked("two", config={"seconds": 60.0})
    bench.submit(study_of(one, two))
    bench.sign(one)
    bench.sign(two)
    bench.order("pause", "one")
    bench.order("cancel", "two")
    bench.until(lambda: not bench.supervisor.running)
    assert (bench.find(one).state, bench.find(one).held) == ("queued", 1)
    assert bench.find(two).state == "cancelled"
    bench.order("resume", "one")
    bench.sign(one, attempt=2)
    assert bench.queue.strikes(one.directory, "lost") == 0, "leaving when asked is no failure"


def test_what_is_no_message_is_refused_and_the_rest_goes_on(bench: Bench, tmp_path: Path) -> None:
    inbox = bench.root.inbox
    (inbox / "1.json").write_text("not json")
    (inbox / "2.json").write_text("[1]")
    (inbox / "3.json").write_text('{"command": "fly", "target": "s"}')
    (inbox / "4.json").write_text('{"command": "pause", "target": "nothing"}')
    sly = study_of(asked("one")).model_dump(mode="json")
    (inbox / "5.json").write_text(json.dumps({**sly, "study": "../outside"}))
    (tmp_path / "elsewhere.json").write_text(json.dumps(sly))
    (inbox / "6.json").symlink_to(tmp_path / "elsewhere.json")
    os.mkfifo(inbox / "7.json")
    (inbox / "8.json").write_text("[" * 100_000)
    bench.submit(study_of(asked("good", config=SHORT), name="t"))
    assert bench.until_ended("t") == {"good": "done"}
    refused = sorted(path.name for path in (inbox / "refused").iterdir())
    assert refused == [f"{number}.json" for number in range(1, 9)]
    assert bench.jobs("s") == []
    assert not (tmp_path / "outside").exists()


def test_what_the_table_cannot_hold_is_refused_and_the_rest_goes_on(bench: Bench) -> None:
    one, inbox = study_of(asked("one")).model_dump(mode="json"), bench.root.inbox
    job = one["jobs"][0]
    twin = {**job, "file": {**job["file"], "kind": "cohort"}}
    odd = {**job, "file": {**job["file"], "config": {"a": "\ud800"}}}
    orders = [
        {**one, "jobs": [{**job, "memory_bytes": 10**30}]},
        {**one, "jobs": [job, twin]},
        {**one, "jobs": [odd]},
        {**one, "priority": 10**30},
        {"command": "priority", "target": "all", "value": 10**30},
    ]
    for number, message in enumerate(orders):
        (inbox / f"{number}.json").write_text(json.dumps(message))
    bench.submit(study_of(asked("good", config=SHORT), name="t"))
    assert bench.until_ended("t") == {"good": "done"}
    assert len(list((inbox / "refused").iterdir())) == len(orders)
    assert bench.jobs("s") == [], "nothing of a refused message stays"


def test_a_run_directory_that_leads_elsewhere_is_refused(bench: Bench, tmp_path: Path) -> None:
    job = asked("one", config=SHORT)
    (tmp_path / "outside").mkdir()
    (bench.root.jobs / job.directory).symlink_to(tmp_path / "outside")
    with pytest.raises(Exception, match="leads out of the runs root"):
        bench.run(job)
    bench.submit(study_of(job, asked("two", config=SHORT)))
    assert bench.until_ended() == {"one": "failed", "two": "done"}
    assert list((tmp_path / "outside").iterdir()) == []


def test_what_stands_in_a_run_folder_stops_no_other_job(bench: Bench) -> None:
    taken, named, silent, numbered = (asked(name, config=SHORT) for name in "abcd")
    bench.run(taken).path.write_text("no folder")
    (bench.run(named).checkpoints / "step-7 (copy)").mkdir(parents=True)
    bench.run(silent).error_file.mkdir(parents=True)
    bench.run(numbered).path.mkdir()
    bench.run(numbered).attempt_file.write_text(json.dumps({"attempt": 10**30}))
    bench.submit(study_of(taken, named, silent, numbered, asked("good", config=SHORT)))
    ends = {"a": "failed", "b": "done", "c": "failed", "d": "done", "good": "done"}
    assert bench.until_ended() == ends
    assert bench.find(taken).failure == "environment"


def test_a_finished_job_whose_job_file_was_damaged_is_made_again(bench: Bench) -> None:
    jobs = [asked(name, config=SHORT) for name in "ab"]
    bench.submit(study_of(*jobs))
    bench.until_ended()
    bench.run(jobs[0]).job_file.write_text("{}")
    bench.run(jobs[1]).job_file.write_text("[" * 100_000)
    bench.submit(study_of(*jobs))
    bench.until(lambda: [bench.find(job).attempt for job in jobs] == [2, 2])
    assert bench.until_ended() == {"a": "done", "b": "done"}


def test_a_run_folder_that_becomes_a_link_while_it_runs_stops_nothing_else(
    bench: Bench, tmp_path: Path
) -> None:
    job = asked("one", config={"seconds": 60.0})
    bench.submit(study_of(job))
    os.kill(bench.sign(job).pid, signal.SIGKILL)
    bench.run(job).path.rename(tmp_path / "moved")
    (bench.root.jobs / job.directory).symlink_to(tmp_path / "moved")
    bench.restart()
    bench.submit(study_of(asked("good", config=SHORT), name="t"))
    assert bench.until_ended("t") == {"good": "done"}
    assert (bench.find(job).state, bench.find(job).failure) == ("failed", "input")


def test_want_of_processes_is_nobodys_failure(bench: Bench) -> None:
    class Crowded(LocalLauncher):
        refused = 0

        def start(self, run: RunDirectory, attempt: int, gpu: str = "") -> LocalHandle:
            if self.refused < 3:
                self.refused += 1
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            return super().start(run, attempt, gpu)

    job = asked("one", config=SHORT)
    bench.restart(Crowded(leash=False))
    bench.submit(study_of(job))
    bench.until(lambda: "memory, process" in bench.supervisor.trouble)
    assert bench.until_ended() == {"one": "done"}
    assert bench.queue.strikes(job.directory, "lost") == 0
    assert bench.supervisor.trouble == ""


def test_escape_sequences_in_names_and_errors_never_reach_the_log(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    job = asked("\x1b]0;owned\x07", config={"fail": "\x1b[2J"})
    bench.submit(study_of(job))
    bench.until_ended()
    assert "\x1b" not in caplog.text
    assert "\\x1b]0;owned\\x07" in caplog.text
