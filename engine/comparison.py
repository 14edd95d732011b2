"""One process, one comparison of given SAEs: `python -m engine.comparison SAE SAE…` prints one JSON object.

An SAE is a file or folder that `engine.saes.formats` or `husai-engine export` wrote, or
`STUDY/COHORT[:SEED]` of a runs root; without a seed all of a cohort take part. The command line starts this
as a process of its own, which has torch.

Shapes: S SAEs, F latents (of the widest), D width of the activations.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from torch import Tensor

from engine.disk.root import RunsRoot, is_name
from engine.disk.rundir import RunDirectory
from engine.errors import HusaiError, InputError
from engine.jobs.cohorts import find_analysis
from engine.metrics.agreement import Stability, SubsetName
from engine.metrics.nulls import isotropic_mean_max_cos, kappa
from engine.metrics.similarity import Sign, live_mask
from engine.metrics.stability import measure_stability
from engine.saes.exchange import find_format
from engine.saes.foreign import load_foreign
from engine.saes.formats import (
    COHORT,
    SINGLE,
    START,
    TrainedSaes,
    load_cohort,
    load_sae,
)
from engine.stages import numerics
from engine.stages.artifacts import read_activations
from engine.stages.flags import dependence
from engine.stages.parts import cohort_parts, read_cohort
from engine.study.sae import sae_title
from engine.subjects.surrogate import moments

MOST = 16
"""SAEs of one comparison; the cost grows with their pairs."""
WANT = "a folder or file of saved SAEs, or STUDY/COHORT[:SEED]"
NAMES = (SINGLE, COHORT, START)


@dataclass(frozen=True)
class Entry:
    """One SAE that takes part."""

    name: str
    saes: TrainedSaes
    """It alone (S = 1)."""
    twin: TrainedSaes | None = None
    """The same trained on Gaussian data of the same moments."""
    activations: RunDirectory | None = None
    """What it was trained on, where that is known."""
    subject: str = ""
    """Run directory of its subject, where that is known."""
    depends: str = ""
    """Why it depends on other seeds of its cohort; empty if it does not."""


def main(arguments: list[str] | None = None) -> int:
    """Compare, print one JSON object, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m engine.comparison", description=main.__doc__)
    parser.add_argument("saes", nargs="+")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--sign", default="signed", choices=("signed", "abs"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    numerics.configure(options.threads, deterministic=True)
    try:
        entries = [
            entry for spec in options.saes for entry in find_saes(spec, RunsRoot(options.runs))
        ]
        found = compare(entries, options.sign)
    except HusaiError as error:
        text = " ".join(str(error).split())
        print(json.dumps({"error": text, "exit_code": error.exit_code}))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    print(json.dumps(found, allow_nan=False))
    return 0


def find_saes(spec: str, root: RunsRoot) -> list[Entry]:
    """Return the SAEs that a person named.

    Raises:
        InputError: there is no such file, study, cohort or seed.
        JobFailed: the cohort is not analysed yet.
        CorruptArtifact: a file is missing, torn, or not that of SAEs.
    """
    path, seed = Path(spec), None
    name, _, last = spec.rpartition(":")
    if not path.exists() and name and last.isdecimal():
        path, seed = Path(name), int(last)
    if path.exists():
        return [Entry(label, one) for label, one in _of_file(path, seed)]
    study, _, title = (spec if seed is None else name).partition("/")
    if not (is_name(study) and title and (root.path / study).is_dir()):
        raise InputError(spec, "no such file, and no such study here", WANT)
    return _of_study(root, study, title, seed)


def _of_file(path: Path, seed: int | None) -> list[tuple[str, TrainedSaes]]:
    if path.is_file() and path.stem not in NAMES:
        wanted = ", ".join(f"{name}.safetensors" for name in NAMES)
        raise InputError(str(path), "not a file of saved SAEs", f"one of {wanted}")
    folder = _published(path) if path.is_dir() else path.parent
    stem = path.stem if path.is_file() else ""
    found = stem or next((name for name in NAMES if (folder / f"{name}.json").is_file()), "")
    foreign = None if found else find_format(folder)
    if foreign is not None:
        saes = load_foreign(folder, foreign)
    elif not found:
        raise InputError(
            str(folder),
            "holds no saved SAEs",
            "the folder of a cohort's job or an export, or one with sae.json or cohort.json",
        )
    else:
        saes = load_sae(folder) if found == SINGLE else load_cohort(folder, found)
    return [(f"{folder}:{one.seeds[0]}", one) for one in _singles(saes, seed)]


def _published(folder: Path) -> Path:
    """Return where the SAEs of a folder are: below it if it is that of a job, which must have ended.

    Raises:
        JobFailed: the job has no result yet.
    """
    run = RunDirectory(folder)
    if not run.job_file.is_file():
        return folder
    run.read_result()
    return run.artifacts


def _of_study(root: RunsRoot, study: str, title: str, seed: int | None) -> list[Entry]:
    job = find_analysis(root, study, title).read_job()
    inputs = {role: root.run(name) for role, name in job["inputs"].items()}
    for run in (*cohort_parts(inputs, "cohort"), *cohort_parts(inputs, "surrogate")):
        run.read_result()  # their artifacts are what was published
    twins = read_cohort(inputs, "surrogate") if "surrogate" in inputs else None
    depends = dependence(inputs["cohort"].read_job()["config"])
    return [
        Entry(
            f"{study}/{title}:{one.seeds[0]}",
            one,
            twins.select(*one.seeds) if twins and one.seeds[0] in twins.seeds else None,
            inputs["activations"],
            inputs["subject"].path.name,
            depends,
        )
        for one in _singles(read_cohort(inputs, "cohort"), seed)
    ]


def _singles(saes: TrainedSaes, seed: int | None) -> list[TrainedSaes]:
    return [saes.select(one) for one in (saes.seeds if seed is None else (seed,))]


def compare(entries: Sequence[Entry], sign: Sign = "signed") -> dict[str, Any]:
    """Return how far SAEs agree, all together and pair by pair, with the nulls there are; plain values.

    SAEs of different sizes are compared in both directions, with nulls of both sizes.

    Raises:
        InputError: fewer than two SAEs or too many, one named twice, different widths or subjects.
    """
    _check(entries)
    covariance, notes = _covariance(entries)
    notes.append(
        "true planes are not looked for here, so there is no N6: where a study has them, its report is the "
        "stricter one"
    )
    found = _measure(entries, covariance, sign)
    return {
        "sign": sign,
        "d_in": found.d_in,
        "saes": [_describe(entry) for entry in entries],
        "subset": subset_of(found),
        "metrics": found.to_json()["metrics"],
        "pairs": _pairs(entries, found),
        "notes": notes,
    }


def _check(entries: Sequence[Entry]) -> None:
    if not 2 <= len(entries) <= MOST:
        what = f"{len(entries)} in all" if len(entries) > 1 else "one has nothing to agree with"
        raise InputError("SAEs", what, f"2 to {MOST}; name single seeds with :SEED")
    first = entries[0]
    names = [entry.name for entry in entries]
    for n, entry in enumerate(entries):
        if entry.name in names[:n]:
            raise InputError(entry.name, "is named twice", "different SAEs")
        width, other = (e.saes.weights.W_dec.shape[2] for e in (first, entry))
        if width != other:
            what = f"d_in is {other}, that of {first.name} is {width}"
            raise InputError(entry.name, what, "SAEs of one hook")
        if entry.subject and first.subject and entry.subject != first.subject:
            what = f"of another subject than {first.name}: directions of two models have nothing in common"
            raise InputError(entry.name, what, "SAEs of one subject")


def _covariance(entries: Sequence[Entry]) -> tuple[Tensor | None, list[str]]:
    """Return the covariance of the activations if all were trained on the same, and what to know."""
    runs = {
        str(entry.activations.path): entry.activations for entry in entries if entry.activations
    }
    if any(entry.activations is None for entry in entries):
        return None, [
            "what the files were trained on is not known here: no N1, and that all SAEs read one hook of "
            "one model is yours to know"
        ]
    if len(runs) > 1:
        return None, [
            "the SAEs read different hooks: no N1; cosines compare directions of one space"
        ]
    (run,) = runs.values()
    assert run is not None, "only those that are known were kept"
    run.read_result()
    return moments(read_activations(run)[0])[1], []


def _measure(entries: Sequence[Entry], covariance: Tensor | None, sign: Sign) -> Stability:
    live = [_live(entry.saes) for entry in entries]
    twins = [entry.twin for entry in entries if entry.twin is not None]
    fake = [_live(twin) for twin in twins]
    paired = len(twins) == len(entries)
    return measure_stability(
        _stack([entry.saes.weights.W_dec[0] for entry in entries]),
        _stack([one for one in live if one is not None]) if None not in live else None,
        activation_covariance_DD=covariance,
        initial_SFD=None,
        surrogate_SFD=_stack([twin.weights.W_dec[0] for twin in twins]) if paired else None,
        surrogate_live_SF=_stack([one for one in fake if one is not None]) if paired else None,
        sign=sign,
        encoders_SFD=_stack([entry.saes.weights.W_enc[0] for entry in entries]),
        dependence=_dependence(entries),
    )


def _live(saes: TrainedSaes) -> Tensor | None:
    """Return which latents fire often enough to be counted, bool [F]; None without a record."""
    return None if saes.fires is None else live_mask(saes.fires[0], saes.inputs)


def _stack(rows: Sequence[Tensor]) -> Tensor:
    """Stack tensors [F, ...] of different F: rows of zeros, which no metric counts, fill them up."""
    longest = max(len(one) for one in rows)
    out = rows[0].new_zeros(len(rows), longest, *rows[0].shape[1:])
    for place, one in zip(out, rows, strict=True):
        place[: len(one)] = one
    return out


def _dependence(entries: Sequence[Entry]) -> str:
    """Return why chance directions are no null for these SAEs; empty if they are."""
    depends = next((entry.depends for entry in entries if entry.depends), "")
    started: dict[tuple[int, int], str] = {}
    for entry in entries:
        key = (entry.saes.seeds[0], entry.saes.config.d_sae)
        if key in started:
            return (
                f"{started[key]} and {entry.name} have one seed and size, so they start from the same "
                "directions and may have kept them"
            )
        started[key] = entry.name
    return depends


def _pairs(entries: Sequence[Entry], found: Stability) -> list[dict[str, Any]]:
    """Return what was observed between any two, and N0 of `mean_max_cos` for the sizes of these two."""
    rows = []
    subset = subset_of(found)
    cells = [cell for cell in found.agreements if cell.subset == subset]
    sizes = cells[0].n_per_seed
    for s, t in combinations(range(len(entries)), 2):
        null = isotropic_mean_max_cos(sizes[s], sizes[t], found.d_in, found.sign)
        seen = {cell.metric: float(cell.pairs[s, t]) for cell in cells}
        chance = {"null_name": "N0", "null": null, "kappa": kappa(seen["mean_max_cos"], null)}
        names = {"a": entries[s].name, "b": entries[t].name}
        rows.append({**names, "subset": subset, "observed": seen, **chance})
    return rows


def subset_of(found: Stability) -> SubsetName:
    """Return `live` where it could be measured: dead latents never left their random start."""
    return "live" if math.isfinite(found.agreement("mean_max_cos", "live").observed) else "all"


def _describe(entry: Entry) -> dict[str, Any]:
    live = _live(entry.saes)
    return {
        "name": entry.name,
        "title": sae_title(entry.saes.config),
        "architecture": entry.saes.config.architecture,
        "d_sae": entry.saes.config.d_sae,
        "seed": entry.saes.seeds[0],
        "live": None if live is None else int(live.sum()),
        "twin": entry.twin is not None,
    }


if __name__ == "__main__":
    sys.exit(main())
