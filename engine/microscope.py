"""One process that looks at single features: `python -m engine.microscope --runs DIR`.

Each line of its input is a request, `{"id", "study", "cohort", "seed", "feature"}`; each line of its output
an answer, `{"id", "card"}` or `{"id", "error", "exit_code"}`. It leaves at the end of its input, and when
nobody has asked for ten minutes.

Shapes: N activations (p² for the grid, row a·p + b), D width, F latents, B activations of one chunk.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import os
import select
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.disk.root import RunsRoot
from engine.disk.rundir import RunDirectory
from engine.errors import HusaiError, InputError, Interrupted
from engine.jobs.cohorts import find_analysis
from engine.metrics.activation_maps import map_spectrum
from engine.saes.formats import TrainedSaes
from engine.stages import numerics
from engine.stages.artifacts import read_activations, read_subject
from engine.stages.parts import cohort_parts, read_cohort
from engine.study.subject import Modular, Subject
from engine.subjects.arithmetic import answers

IDLE_SECONDS = 600.0
BUDGET = 300 << 20
"""Bytes of activations, weights and latents that are kept for the next look."""
CHUNK = 1 << 20
"""Latents computed at once: 4 MB, and a few times that in between."""
TOP, BINS, LEVELS = 20, 24, 255
Card = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Answer until the input ends, or nobody asks any more; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m engine.microscope", description=main.__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="runs root")
    parser.add_argument("--idle", type=float, default=IDLE_SECONDS, help="seconds to wait")
    options = parser.parse_args(arguments)
    numerics.configure(threads=1, deterministic=False)
    # Answers go where output went; what a library prints must not stand between them.
    answers_out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(answer: str) -> None:
        answers_out.write(answer + "\n")
        answers_out.flush()

    try:
        serve(Microscope(RunsRoot(options.runs)), sys.stdin.fileno(), say, options.idle)
    except BrokenPipeError:  # whoever asked is gone
        return 0
    except KeyboardInterrupt:
        return Interrupted.exit_code
    return 0


def serve(microscope: Microscope, source: int, say: Callable[[str], None], idle: float) -> None:
    """Answer each line that comes from a file descriptor, until it ends or `idle` seconds bring nothing."""
    torn = b""
    while select.select([source], [], [], idle)[0]:
        data = os.read(source, 1 << 16)
        if not data:
            return
        *lines, torn = (torn + data).split(b"\n")
        for line in lines:
            say(microscope.answer(line))


@dataclass(frozen=True)
class Specimen:
    """One cohort, its activations, and what they are of."""

    saes: TrainedSaes
    x_ND: Tensor
    subject: Subject

    def size(self) -> int:
        """Return how many bytes it holds."""
        tensors = [self.x_ND, *self.saes.weights.named().values()]
        return sum(tensor.nbytes for tensor in tensors)


@dataclass
class Codes:
    """What one SAE makes of all activations: the latents above zero, chunk by chunk."""

    chunks: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    """Ends of each latent's entries [F + 1], their inputs (int32) and values, by latent."""

    def add(self, z_BF: Tensor, start: int) -> None:
        """Append the latents of activations `start`, `start` + 1, ..."""
        z_FB = z_BF.T.contiguous()
        latents_E, inputs_E = z_FB.nonzero(as_tuple=True)
        counts_F = torch.bincount(latents_E, minlength=len(z_FB))
        ends = torch.cat([counts_F.new_zeros(1), counts_F.cumsum(0)])
        self.chunks.append((ends, (inputs_E + start).int(), z_FB[latents_E, inputs_E]))

    def of(self, feature: int) -> tuple[Tensor, Tensor]:
        """Return on which inputs a latent is above zero, int64 ascending, and its values there."""
        cuts = [slice(int(ends[feature]), int(ends[feature + 1])) for ends, _, _ in self.chunks]
        inputs = [rows[cut] for cut, (_, rows, _) in zip(cuts, self.chunks, strict=True)]
        values = [kept[cut] for cut, (_, _, kept) in zip(cuts, self.chunks, strict=True)]
        return torch.cat(inputs).long(), torch.cat(values)

    def size(self) -> int:
        """Return how many bytes they hold."""
        return sum(tensor.nbytes for chunk in self.chunks for tensor in chunk)


def _read(line: bytes) -> tuple[Any, dict[str, Any]]:
    """Return the number of a request and what it asks; raise InputError if it is none."""
    try:
        request = json.loads(line)
        asked = {name: request[name] for name in ("study", "cohort", "seed", "feature")}
        number = request["id"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("request", repr(error), "id, study, cohort, seed and feature") from None
    if list(map(type, asked.values())) != [str, str, int, int]:
        raise InputError("request", str(asked), "two texts and two whole numbers")
    return number, asked


class Microscope:
    """Looks at features, and keeps what the next look may need."""

    def __init__(self, root: RunsRoot, budget: int = BUDGET) -> None:
        self._root, self._budget = root, budget
        self._kept: OrderedDict[tuple[str, int | None], Specimen | Codes] = OrderedDict()

    def kept(self) -> int:
        """Return how many bytes are kept."""
        return sum(one.size() for one in self._kept.values())

    def answer(self, line: bytes) -> str:
        """Return the answer to one request, as JSON; whatever is wrong with it is told in one line."""
        number = None
        try:
            number, asked = _read(line)
            return json.dumps({"id": number, "card": self.look(**asked)}, allow_nan=False)
        except HusaiError as error:
            text, code = str(error), error.exit_code
        except Exception as error:  # the next feature may be well
            text, code = f"{type(error).__name__}: {error}", HusaiError.exit_code
        return json.dumps({"id": number, "error": " ".join(text.split()), "exit_code": code})

    def look(self, study: str, cohort: str, seed: int, feature: int) -> Card:
        """Return the card of one feature as plain values.

        Raises:
            InputError: there is no such study, cohort, seed or feature.
            JobFailed: the cohort is not analysed.
            CorruptArtifact: a file is damaged.
        """
        analysis = find_analysis(self._root, study, cohort)
        specimen = self._specimen(analysis)
        one = specimen.saes.select(seed)
        if not 0 <= feature < one.config.d_sae:
            raise InputError("feature", f"{feature} is not there", f"0 to {one.config.d_sae - 1}")
        inputs_E, values_E = self._code(analysis.path.name, one, specimen.x_ND, feature)
        return describe(inputs_E, values_E, len(specimen.x_ND), specimen.subject)

    def _specimen(self, analysis: RunDirectory) -> Specimen:
        found = self._kept.get((analysis.path.name, None))
        if isinstance(found, Specimen):
            self._kept.move_to_end((analysis.path.name, None))
            return found
        inputs = {
            role: self._root.run(name) for role, name in analysis.read_job()["inputs"].items()
        }
        for run in (inputs["subject"], inputs["activations"], *cohort_parts(inputs, "cohort")):
            run.read_result()  # their artifacts are what was published
        x_ND, _ = read_activations(inputs["activations"])
        subject = read_subject(inputs["subject"])
        specimen = Specimen(read_cohort(inputs, "cohort"), x_ND, subject)
        self._keep((analysis.path.name, None), specimen)
        return specimen

    def _code(
        self, name: str, one: TrainedSaes, x_ND: Tensor, feature: int
    ) -> tuple[Tensor, Tensor]:
        """Return one latent's entries; those of its whole SAE are kept where the budget allows it."""
        place = (name, one.seeds[0])
        found = self._kept.get(place)
        if isinstance(found, Codes):
            self._kept.move_to_end(place)
            return found.of(feature)
        codes, column, fits = Codes(), Codes(), True
        saes, rows = one.architecture(), max(1, CHUNK // one.config.d_sae)
        for start in range(0, len(x_ND), rows):
            z_BF = saes.encode(x_ND[None, start : start + rows])[0]
            column.add(z_BF[:, feature : feature + 1], start)
            fits = fits and codes.size() <= self._budget // 2
            if fits:
                codes.add(z_BF, start)
            else:
                codes.chunks.clear()
        if fits:
            self._keep(place, codes)
        return column.of(0)

    def _keep(self, place: tuple[str, int | None], what: Specimen | Codes) -> None:
        self._kept[place] = what
        while self.kept() > self._budget and len(self._kept) > 1:
            self._kept.popitem(last=False)


def describe(inputs_E: Tensor, values_E: Tensor, inputs: int, subject: Subject) -> Card:
    """Return what there is to see of a latent that is above zero on some of `inputs` activations."""
    largest = float(values_E.max()) if len(values_E) else 0.0
    order = values_E.argsort(descending=True, stable=True)[:TOP]
    top: list[dict[str, Any]] = [
        {"input": int(row), "activation": float(value)}
        for row, value in zip(inputs_E[order], values_E[order], strict=True)
    ]
    counts = torch.histc(values_E, BINS, 0.0, largest) if largest else torch.zeros(BINS)
    card: Card = {
        "kind": subject.kind,
        "inputs": inputs,
        "max": largest,
        "mean": float(values_E.double().sum()) / inputs,
        "density": len(values_E) / inputs,
        "histogram": [int(count) for count in counts],
        "top": top,
    }
    if isinstance(subject, Modular):
        card |= _grid(inputs_E, values_E, largest, subject)
        answers_N = answers(subject.modulus, subject.task)
        for one in top:
            a, b = divmod(one["input"], subject.modulus)
            one |= {"a": a, "b": b, "answer": int(answers_N[one["input"]])}
    return card


def _grid(inputs_E: Tensor, values_E: Tensor, largest: float, subject: Modular) -> Card:
    """Return the map over all pairs, in steps of its largest value / 255, and its spectrum."""
    p, scale = subject.modulus, largest / LEVELS
    map_R = torch.zeros(p * p)
    map_R[inputs_E] = values_E
    levels_R = (map_R / scale).round().clamp_(0, LEVELS) if scale else map_R
    spectrum_4K = map_spectrum(map_R[:, None], p, subject.task)[..., 0]
    known = math.isfinite(float(spectrum_4K[0, 0]))
    return {
        "modulus": p,
        "task": subject.task,
        "scale": scale,
        "map": base64.b64encode(levels_R.byte().numpy().tobytes()).decode("ascii"),
        "spectrum": spectrum_4K.tolist() if known else None,
    }


if __name__ == "__main__":
    os._exit(
        main()
    )  # nothing is left to write, and an interpreter with torch takes its time to end
