"""One process, one job: `python -m engine.worker DIR`.

It knows its run directory and nothing else, so any job can be repeated by hand.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import resource
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import IO, Any

from engine.disk.atomic import write_json
from engine.disk.failpoints import enter_role
from engine.disk.heartbeat import Heartbeat
from engine.disk.root import PRIVATE_UMASK
from engine.disk.rundir import RunDirectory
from engine.errors import EnvironmentUnfit, HusaiError, Interrupted, Superseded
from engine.jobs.failures import EXIT_CODES, sort_of
from engine.study.fingerprint import code_fingerprint, package_version

KINDS = ("subject", "activations", "cohort", "analysis", "report")
_VERSIONS = ("husai", "torch", "transformer-lens", "numpy", "scipy", "safetensors")


def main(arguments: list[str] | None = None) -> int:
    """Run the job of a run directory; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m engine.worker", description=main.__doc__)
    parser.add_argument("directory", type=Path, help="run directory with a job.json")
    parser.add_argument("--leash", action="store_true", help="stop when standard input is closed")
    parser.add_argument(
        "--attempt", type=int, help="publish nothing once another attempt has begun"
    )
    options = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if options.leash:
        threading.Thread(target=_follow_leash, args=(stop,), daemon=True).start()
    os.umask(PRIVATE_UMASK)
    enter_role("worker")
    run = RunDirectory(options.directory.resolve(), options.attempt)
    try:
        return _work(run, stop)
    except Superseded as error:
        _log(str(error))  # and nothing else: the directory belongs to the other one
        return error.exit_code
    except HusaiError as error:
        return _record(run, error, error.exit_code)
    except Exception as error:
        _log(traceback.format_exc())
        return _record(run, error, 1)


def _follow_leash(stop: threading.Event) -> None:
    """Ask to stop once whoever holds the other end of standard input is gone, even by kill -9."""
    while os.read(0, 4096):
        pass
    stop.set()


def _work(run: RunDirectory, stop: threading.Event) -> int:
    job = run.read_job()
    _check_code(job)
    os.environ.update(job["environment"])  # before torch is imported: OpenMP reads it while loading
    on_gpu = job.get("placement", {}).get("device") == "cuda"  # a file by hand may lack it
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "") if on_gpu else ""
    with _only_worker(run, stop), Heartbeat(run.sign_file, run.attempt or 0, gpu=gpu):
        run.check_attempt()
        if run.done():
            run.remove_checkpoints()  # the worker before was killed after its result
            _log("already done")
            return 0
        run.drop_unfinished()
        started = time.monotonic()
        # Importing torch takes a second or two; a stop that arrives meanwhile is seen before the work.
        from engine.stages.context import Context
        from engine.stages.kinds import COMPUTE_NOTHING, stage_of

        stage = stage_of(job["kind"])
        if job["kind"] not in COMPUTE_NOTHING:
            from engine.stages import allocator, numerics

            placed = job["placement"]
            allocator.keep_freed()
            numerics.configure(job["threads"], placed["deterministic"], placed.get("tf32", False))
        inputs = {
            role: RunDirectory(run.path.parent / name) for role, name in job["inputs"].items()
        }
        device = job["placement"]["device"]
        precision = job["placement"]["precision"]
        context = Context(run, job["config"], job["policy"], inputs, device, stop.is_set, precision)
        if stop.is_set():
            raise Interrupted("stopped before the work began")
        print(f"{job['name']}: {job['threads']} threads on {device} {gpu}".rstrip(), flush=True)
        result = stage(context)
        seconds = time.monotonic() - started
        provenance = {**_provenance(job, seconds), "attempt": run.newest_attempt()}
        run.finish({**result, "provenance": provenance})
        run.remove_checkpoints()
        _log(f"done in {seconds:.1f} s")
    return 0


def remember_code() -> None:
    """Take note of the code of every kind of job, as it is on the disk now."""
    for kind in KINDS:
        code_fingerprint(kind)


def _check_code(job: dict[str, Any]) -> None:
    """Raise EnvironmentUnfit if a job was planned by other code than ours: its key would not be true."""
    planned = job.get("code")
    if planned and planned != code_fingerprint(job["kind"]):
        raise EnvironmentUnfit(
            f"{job['name']} was planned by another version of husai than this worker's; after an upgrade, "
            "`husai-engine down`, `up`, and submit the study again"
        )


class _only_worker:  # noqa: N801  reads as a verb in `with`
    """Holds the run directory's lock; waits while another worker is in it."""

    def __init__(self, run: RunDirectory, stop: threading.Event) -> None:
        self._path, self._stop = run.lock_file, stop

    def __enter__(self) -> None:
        self._file: IO[str] = open(self._path, "w")
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                print("another worker is in this run directory; waiting", flush=True)
                if self._stop.wait(1.0):
                    raise Interrupted("stopped while waiting for another worker") from None

    def __exit__(self, *_: object) -> None:
        self._file.close()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide results; looked up once per process."""
    return {
        "python": sys.version.split()[0],
        **{name: package_version(name) for name in _VERSIONS},
    }


def _provenance(job: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return what a reader needs to judge and repeat the result."""
    from threadpoolctl import threadpool_info

    warnings = []
    if os.environ.get("KMP_DUPLICATE_LIB_OK") == "TRUE":
        warnings.append(
            "KMP_DUPLICATE_LIB_OK=TRUE: two OpenMP runtimes were loaded; their vendor says that results "
            "may silently be wrong"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "numerics": _numerics(job),
        "key": job["key"],
        "seconds": round(seconds, 3),
        "peak_memory_bytes": peak if sys.platform == "darwin" else peak * 1024,
        "versions": versions(),
        "environment": job["environment"],
        "threads": job["threads"],
        "placement": job["placement"],
        "thread_pools": [
            {
                name: pool.get(name)
                for name in ("user_api", "internal_api", "version", "num_threads")
            }
            for pool in threadpool_info()
        ],
        "warnings": warnings,
    }


def _numerics(job: dict[str, Any]) -> dict[str, Any]:
    """Return what torch says was in force when the work was done; nothing where nothing was computed."""
    from engine.stages.kinds import COMPUTE_NOTHING

    if job["kind"] in COMPUTE_NOTHING:
        return {}
    from engine.stages import numerics

    return numerics.in_force(job["placement"]["device"])


def _log(text: str) -> None:
    """Write to the log, unless the disk is full: why a job ends must not depend on that."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def _record(run: RunDirectory, error: Exception, code: int) -> int:
    """Say why there is no result, in the log and in `error.json`."""
    kind, sort = type(error).__name__, sort_of(error)
    _log(f"{kind}: {error}")
    message = (
        str(error) if isinstance(error, HusaiError) else f"{kind}: {error}; log: {run.log_file}"
    )
    if run.path.is_dir():
        said = {"error": kind, "sort": sort, "message": message, "exit_code": code}
        if sort == "disk":
            run.drop_unfinished()  # the space is needed, not least by the queue
        with contextlib.suppress(OSError):  # on a full disk the exit code has to do
            write_json(run.error_file, said)
    return EXIT_CODES.get(sort, code)


if __name__ == "__main__":
    code = main()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    # Not by way of the interpreter's end: it flushes again, and fails again on a full disk.
    os._exit(code)
