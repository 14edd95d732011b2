"""The lines of the sweep's form: which setting each is, what it means, and what a typed text stands for."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic.fields import FieldInfo

from engine.errors import InputError
from engine.study.recipe import SaeTraining
from engine.study.sae import BatchTopK, Gated, JumpReLU, Matryoshka, ReLU, TopK
from engine.study.search import compact
from engine.study.spec import Analysis, parse_yaml
from engine.study.subject import External, Modular, Planted, Transformer

Kind = Literal["text", "values", "seeds", "choice", "flags", "switch", "note"]
ARCHITECTURES = {
    get_args(sae.model_fields["architecture"].annotation)[0]: sae
    for sae in (TopK, ReLU, BatchTopK, Matryoshka, JumpReLU, Gated)
}
LONGEST_RANGE = 1_000


@dataclass(frozen=True)
class Field:
    """One line of the form."""

    name: str
    """Also its label."""
    group: str
    kind: Kind
    path: str
    """Key path; `saes` fields: the key in each entry that has it."""
    hint: str
    """What it means, in a line."""
    default: Any = None
    """What holds where the study says nothing."""
    options: tuple[str, ...] = ()
    """Of choices and flags."""

    @property
    def of_saes(self) -> bool:
        """Whether it is a key of the entries of `saes`."""
        return self.group == "SAEs" and self.kind == "values"


def _of(fields: dict[str, FieldInfo], path: str, group: str, name: str, hint: str) -> Field:
    """Return the field of a setting; which kind it is and what its default is say the settings' models."""
    setting = fields[path.rsplit(".", 1)[-1]]
    options = get_args(setting.annotation) if isinstance(setting.default, str) else ()
    kind: Kind = "choice" if options else "values"
    return Field(name, group, kind, path, hint, setting.default, options)


_M, _P, _E = Modular.model_fields, Planted.model_fields, External.model_fields
_T = SaeTraining.model_fields
TOP = (
    Field("name", "study", "text", "name", "names the study and its folder below the runs root"),
    Field("about", "study", "text", "description", "what it asks, in one sentence, for lists"),
    Field(
        "kind",
        "subject",
        "choice",
        "subject.kind",
        "a grokked transformer, planted data with known features, or your own activations",
        "modular",
        ("modular", "planted", "external"),
    ),
)
MODULAR = (
    _of(_M, "subject.modulus", "subject", "modulus", "the prime p of (a ∘ b) mod p"),
    _of(_M, "subject.task", "subject", "task", "the operation that is learnt"),
    _of(
        Transformer.model_fields,
        "subject.transformer.layers",
        "subject",
        "layers",
        "blocks of the transformer, 1 to 12",
    ),
    _of(
        _M,
        "subject.gates",
        "subject",
        "gates",
        "enforce stops the study at a failed gate; warn goes on and marks every result",
    ),
)
PLANTED = (
    _of(
        _P,
        "subject.generator",
        "subject",
        "generator",
        "sparse: known features; fourier: planes; gaussian: nothing to find",
    ),
    _of(_P, "subject.d_in", "subject", "d_in", "width of the activations"),
    _of(_P, "subject.features", "subject", "features", "number of true features, or of planes"),
    _of(_P, "subject.l0", "subject", "l0", "features active in a sample"),
    _of(_P, "subject.noise", "subject", "noise", "standard deviation of the added noise"),
    _of(_P, "subject.samples", "subject", "samples", "number of samples"),
)
EXTERNAL = (
    Field(
        "path",
        "subject",
        "values",
        "subject.path",
        "a .npy or .safetensors file of activations, or a folder of them",
    ),
    _of(_E, "subject.tensor", "subject", "tensor", "which tensor of a .safetensors file"),
    _of(_E, "subject.max_rows", "subject", "rows", "inputs to keep of more, drawn at random"),
)
KINDS = Field(
    "architecture",
    "SAEs",
    "flags",
    "saes",
    "architectures; each is one cohort per hook and combination of values",
    options=tuple(ARCHITECTURES),
)
SAE_FIELDS = (
    Field(
        "width",
        "SAEs",
        "values",
        "d_sae",
        "number of latents; several values, with commas, make a grid",
    ),
    Field("k", "SAEs", "values", "k", "latents kept per input: topk, batch_topk, matryoshka"),
    Field("l1", "SAEs", "values", "l1", "weight of the L1 penalty: relu, gated"),
    Field("target l0", "SAEs", "values", "target_l0", "latents per input that jumprelu aims at"),
)
REST = (
    Field(
        "seeds",
        "seeds",
        "seeds",
        "seeds",
        "two at least, five are recommended; 1-8 stands for eight of them",
    ),
    Field(
        "vary",
        "seeds",
        "flags",
        "vary",
        "what a seed changes: initial weights, order of batches, or both",
        ("init",),
        ("init", "order"),
    ),
    _of(
        _T,
        "training.epochs",
        "training",
        "epochs",
        "passes over the training activations; several values make a grid",
    ),
    _of(_T, "training.batch_size", "training", "batch", "inputs per step"),
    _of(_T, "training.lr", "training", "lr", "peak learning rate of Adam"),
    Field(
        "null",
        "training",
        "switch",
        "analysis.surrogate",
        "train a twin of every cohort on surrogate data: what chance would score",
        Analysis.model_fields["surrogate"].default,
    ),
)
OTHER = Field("search", "search", "note", "search", "what else is searched; e edits it in the YAML")
RUN = (
    Field(
        "profile",
        "run",
        "choice",
        "",
        "how this machine is used; 7 says what each profile does here",
    ),
    Field("priority", "run", "values", "", "jobs of a higher one go first", 0),
)


@dataclass(frozen=True)
class Shown:
    """The values of a field."""

    values: tuple[Any, ...]
    usual: bool = False
    """Whether the study says nothing, and the default holds."""
    mixed: bool = False
    """Whether the entries of `saes` differ in it."""
    drawn: bool = False
    """Whether it is drawn from a range."""

    @property
    def text(self) -> str:
        """The values as they are typed."""
        return (" | " if self.mixed else ", ").join(compact(value) for value in self.values)


def parse(field: Field, text: str) -> list[Any]:
    """Return the values that a text stands for; what is no number stays text, for the engine to refuse."""
    if field.kind == "text":
        return [text]
    found: list[Any] = []
    for piece in filter(None, (piece.strip() for piece in text.split(","))):
        run = re.fullmatch(r"(\d{1,9})\s*(?:-|\.\.)\s*(\d{1,9})", piece)
        if field.kind == "seeds" and run and 0 <= int(run[2]) - int(run[1]) < LONGEST_RANGE:
            found += range(int(run[1]), int(run[2]) + 1)
            continue
        try:
            value = parse_yaml(piece, "")
            json.dumps(value)
        except (InputError, TypeError, ValueError):
            value = piece
        found.append(piece if value is None else value)
    return found
