"""One process, one measurement of an analysis: `python -m engine.analysis_bench --seeds S --d-sae F`.

The cohort is made for it in seconds, in a process of its own whose memory does not count: a transformer that
was never trained, whose tokens are embedded as waves of a few frequencies so that true planes exist, and TopK
SAEs trained on its activations for two passes. It has no twins: N3 is left out. The last line printed is one
JSON object.

Shapes: P = modulus, D = width, K = frequencies.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.disk.rundir import RunDirectory
from engine.errors import HusaiError
from engine.stages import allocator, numerics
from engine.stages.context import Context
from engine.study.recipe import SaeTraining
from engine.study.sae import TopK
from engine.study.spec import Analysis
from engine.study.subject import Modular

HOOK = "blocks.0.hook_resid_post"
FREQUENCIES = (1, 7, 19, 23)
EPOCHS = 2
CASES = {"modulus": 113, "seeds": 5, "d_sae": 1024, "k": 32}


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a cohort, analyse it, print one JSON object as the last line, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m engine.analysis_bench", description=__doc__)
    parser.add_argument("--seeds", type=int, default=CASES["seeds"])
    parser.add_argument("--d-sae", type=int, default=CASES["d_sae"])
    parser.add_argument("--modulus", type=int, default=CASES["modulus"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--prepare", type=Path, help="only make the cohort, in this folder")
    options = parser.parse_args(arguments)
    allocator.keep_freed()
    numerics.configure(options.threads, deterministic=False)
    try:
        if options.prepare:
            prepare(options.prepare, options.seeds, options.d_sae, options.modulus)
            return 0
        with tempfile.TemporaryDirectory(prefix="husai-bench-") as folder:
            given = list(arguments or sys.argv[1:])
            own = [sys.executable, "-P", "-m", "engine.analysis_bench", *given]
            made = subprocess.run([*own, "--prepare", folder], stdout=subprocess.DEVNULL)
            if made.returncode:
                return made.returncode
            print(json.dumps(measure(Path(folder)), allow_nan=False))
    except HusaiError as error:
        print(json.dumps({"error": str(error), "exit_code": error.exit_code}))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def prepare(folder: Path, seeds: int, d_sae: int, modulus: int) -> None:
    """Run the jobs before an analysis, small ones, and leave their run directories in a folder."""
    from engine.stages import activations, cohort

    subject = _subject(folder, modulus)
    settings = {"hook": HOOK}
    _run(folder, "activations", settings, {"subject": subject}, activations.run)
    training = SaeTraining(epochs=EPOCHS, warmup_steps=2)
    config = {
        "sae": TopK(d_sae=d_sae, k=min(CASES["k"], d_sae)).model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "vary": ["init"],
        "seeds": list(range(seeds)),
        "surrogate": None,
    }
    made = {"activations": RunDirectory(folder / "activations")}
    _run(folder, "cohort", config, made, cohort.run)


def _subject(folder: Path, modulus: int) -> RunDirectory:
    """Write a transformer that was not trained, with waves for its tokens, as a finished subject."""
    from engine.stages.artifacts import WEIGHTS
    from engine.subjects.transformer import make_transformer, save_weights, token_embedding

    config = Modular.model_validate({"kind": "modular", "modulus": modulus})
    keys = [k for k in FREQUENCIES if k <= modulus // 2]
    model = make_transformer(config)
    token_embedding(model)[:modulus] = waves(modulus, keys, config.transformer.d_model)
    run = _create(folder, "subject", config.model_dump(mode="json", exclude={"gates"}), {})
    save_weights(model, run.begin_artifacts() / WEIGHTS)
    run.finish({"kind": "modular", "key_frequencies": keys})
    return run


def waves(modulus: int, keys: Sequence[int], width: int) -> Tensor:
    """Return an embedding [P, D] of unit rows: cos and sin of each frequency along directions at random."""
    angles_PK = 2 * torch.pi / modulus * torch.arange(modulus)[:, None] * torch.tensor(keys)
    waves_PM = torch.cat([angles_PK.cos(), angles_PK.sin()], 1)
    directions_MD = torch.randn(2 * len(keys), width, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(waves_PM @ directions_MD, dim=1)


def _create(
    folder: Path, kind: str, config: dict[str, Any], inputs: dict[str, RunDirectory]
) -> RunDirectory:
    run = RunDirectory(folder / kind)
    roles = {role: source.path.name for role, source in inputs.items()}
    run.create({"kind": kind, "name": f"bench {kind}", "config": config, "inputs": roles})
    return run


def _run(
    folder: Path,
    kind: str,
    config: dict[str, Any],
    inputs: dict[str, RunDirectory],
    stage: Any,
) -> None:
    run = _create(folder, kind, config, inputs)
    context = Context(run, config, {}, inputs, "cpu", lambda: False)
    run.finish(stage(context))


def measure(folder: Path) -> dict[str, Any]:
    """Analyse the cohort in a folder, once; seconds are of the analysis alone, memory is the process's peak."""
    from engine.stages import analysis

    inputs = {role: RunDirectory(folder / role) for role in ("subject", "activations", "cohort")}
    config = {"hook": HOOK, "analysis": Analysis(surrogate=False).model_dump(mode="json")}
    run = _create(folder, "analysis", config, inputs)
    context = Context(run, config, {}, inputs, "cpu", lambda: False)
    wall, cpu = time.perf_counter(), time.process_time()
    cohort = analysis.run(context)["cohort"]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "threads": torch.get_num_threads(),
        "seeds": len(cohort["seeds"]),
        "d_in": cohort["d_in"],
        "d_sae": cohort["d_sae"],
        "data": f"TopK SAEs after {EPOCHS} passes over a transformer that was not trained",
        "inputs": inputs["activations"].read_result()["samples"],
        "live": cohort["quality"]["live_fraction"]["mean"],
        "planes": sum(plane["exists"] for plane in cohort["ground_truth"]["planes"]),
        "seconds": wall,
        "cpu_seconds": cpu,
        "peak_bytes": peak_bytes(),
    }


def peak_bytes() -> int:
    """Return the most memory that this process has held at once; Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


if __name__ == "__main__":
    sys.exit(main())
