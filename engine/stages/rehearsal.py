"""A job that computes nothing: it shows that jobs are placed, watched, stopped and counted as they should."""

from __future__ import annotations

import time

from engine.errors import Interrupted
from engine.stages.context import Context, Result

_TICK_SECONDS = 0.01


def run(context: Context) -> Result:
    """Do nothing, in the ways that its settings ask for.

    Read the inputs if `reads`, wait for `seconds`, hold Python's lock while as many numbers are added up as
    `hold` says, take `allocate` bytes of memory, fail as `fail` says, write an artifact of `bytes` zeros.

    Raises:
        CorruptArtifact: an input is damaged.
        Interrupted: it was asked to stop meanwhile.
        MemoryError: there is not that much memory.
        RuntimeError: with the text of `fail`.
    """
    config = context.config
    if config.get("reads"):
        for run in context.inputs.values():
            run.read_result()
    end = time.monotonic() + float(config.get("seconds", 0.0))
    while time.monotonic() < end:
        if context.stop():
            raise Interrupted("stopped; a rehearsal has nothing to save")
        time.sleep(_TICK_SECONDS)
    sum(range(int(config.get("hold", 0))))
    taken = bytearray(int(config.get("allocate", 0)))
    if config.get("fail"):
        raise RuntimeError(config["fail"])
    size = int(config.get("bytes", 0))
    if size:
        (context.run.begin_artifacts() / "zeros").write_bytes(bytes(size))
    return {"allocated": len(taken)}
