"""Notebooks that are ready to run on a finished study: they read it through `engine.client.results` alone."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from engine.client.results import StudyResults, read_study
from engine.disk.atomic import write_bytes
from engine.errors import EnvironmentUnfit, InputError, JobFailed

SECONDS = 600
"""A cell of a notebook that is executed may take so long."""

TITLE = """\
# {name}

{description}

Made by `husai-engine notebook {name}`. Every cell reads the results through `engine.client.results`; nothing is
trained here. The report of the study is `{report}`."""

SETUP = """\
import matplotlib.pyplot as plt
import numpy as np

from engine.client.results import read_study

study = read_study({runs!r}, {name!r})
study.titles"""

VERDICT = """\
## The verdict

A verdict rests on κ = (observed − null) / (1 − null) and its 95 % interval over seeds: 0 is chance, 1 the same
features in every seed. Read the warnings first."""

VERDICT_CODE = """\
for warning in study.warnings:
    print("!", warning)
for title in study.titles:
    cell = study.cohort(title).headline
    print(f"{title}: {study.verdicts[title]}, kappa {cell['kappa']}, "
          f"95 % CI [{cell['ci_low']}, {cell['ci_high']}], against {cell['null_name']}")"""

LADDER = """\
## The ladder of nulls

κ is taken against the largest admissible null. One that is not admissible says why."""

LADDER_CODE = """\
for title in study.titles:
    cell = study.cohort(title).headline
    print(f"{title}: observed {cell['observed']}")
    for null in cell["nulls"]:
        mark = "*" if null["name"] == cell["null_name"] else " "
        why = "" if null["admissible"] else f"  not admissible: {null['reason']}"
        print(f"  {mark} {null['name']:3} {null['value']}  kappa {null['kappa']}{why}")"""

DISTRIBUTION = """\
## How stable are single features?

For each live feature the median over the other seeds of its best cosine, beside the same of the surrogate (the
same SAEs trained on Gaussian data with the same mean and covariance: there is nothing to find in them)."""

DISTRIBUTION_CODE = """\
figure, panels = plt.subplots(1, len(study.titles), figsize=(5 * len(study.titles), 3), squeeze=False)
for axes, title in zip(panels.flat, study.titles):
    cohort = study.cohort(title)
    live = cohort.features["live"].astype(bool)
    ours = cohort.features["median_best_cosine"][live]
    null = cohort.null_features().get("median_best_cosine", np.array([]))
    edges = np.linspace(0, 1, 51)
    axes.hist(ours, edges, weights=np.full(len(ours), 1 / max(1, len(ours))), alpha=0.6, label="features")
    if len(null):
        axes.hist(null, edges, weights=np.full(len(null), 1 / len(null)), histtype="step", label="surrogate")
    axes.set(title=title, xlabel="median best cosine", ylabel="share of live features")
    axes.legend()
figure.tight_layout()"""

DENSITY = """\
## Stability and density

Do features that fire often come back more often? Compare with the surrogate at the same density before
believing a trend."""

DENSITY_CODE = """\
figure, panels = plt.subplots(1, len(study.titles), figsize=(5 * len(study.titles), 3), squeeze=False)
for axes, title in zip(panels.flat, study.titles):
    cohort = study.cohort(title)
    live = cohort.features["live"].astype(bool) & (cohort.features["density"] > 0)
    null = cohort.null_features()
    if null:
        fires = null["density"] > 0
        axes.plot(null["density"][fires], null["median_best_cosine"][fires], ".", ms=2, label="surrogate")
    axes.plot(cohort.features["density"][live], cohort.features["median_best_cosine"][live], ".", ms=2,
              label="features")
    axes.set(title=title, xscale="log", xlabel="density", ylabel="median best cosine", ylim=(0, 1))
    axes.legend()
figure.tight_layout()"""

LOOKUP = """\
## One feature

Set a seed and a feature to see how every other seed has it, and what else is known about it."""

LOOKUP_CODE = """\
cohort = study.cohort(study.titles[0])
seed = cohort.seeds[0]
own = (cohort.features["seed"] == seed) & cohort.features["live"].astype(bool)
most = np.flatnonzero(own)[np.argmax(cohort.features["median_best_cosine"][own])] if own.any() else 0
feature = int(cohort.features["feature"][most])

table = cohort.table
row = table.row(seed, feature)
print(f"{cohort.title}, seed {seed}, feature {feature}")
for other, cosine, partner, mutual in zip([s for s in cohort.seeds if s != seed], table.best[row],
                                          table.partner[row], table.mutual[row]):
    print(f"  seed {other}: feature {partner}, cosine {cosine:.3f}{'' if mutual else ', not mutual'}")
for name, column in cohort.features.items():
    print(f"  {name}: {column[row]}")"""

COMPARE = """\
## Two cohorts side by side

Intervals that overlap do not prove that two cohorts are alike; intervals that do not are no fair comparison
either unless sparsity, quality and the number of live features match. So these stand beside κ."""

COMPARE_CODE = """\
for title in study.titles[:2]:
    cohort = study.cohort(title)
    cell, quality = cohort.headline, cohort.summary["quality"]
    print(title)
    print(f"  kappa {cell['kappa']}  [{cell['ci_low']}, {cell['ci_high']}]  against {cell['null_name']}")
    for name in ("explained_variance", "l0", "dead_fraction"):
        print(f"  {name}: {quality[name]['mean']} (sd {quality[name]['sd']})")
    print(f"  live features by seed: {cell['n_per_seed']}")
if len(study.titles) > 1:
    figure, axes = plt.subplots(figsize=(6, 1 + 0.4 * len(study.titles)))
    for place, title in enumerate(study.titles):
        cell = study.cohort(title).headline
        if cell["kappa"] is None:
            continue
        if cell["ci_low"] is not None:
            axes.plot([cell["ci_low"], cell["ci_high"]], [place, place], color="C0")
        axes.plot(cell["kappa"], place, "o", color="C0")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(study.titles)), study.titles)
    axes.set_xlabel("kappa (0 is chance)")
    figure.tight_layout()"""

CURVES_CODE = """\
cohort = study.cohort(study.titles[0])
for seed in cohort.seeds:
    curves = cohort.curves(seed)
    plt.plot(curves["step"], curves["explained_variance"], label=str(seed))
plt.xlabel("step")
plt.ylabel("explained variance")
plt.legend(title="seed");"""

ONWARD = """\
## Where to go on

- `study.features()` is features.parquet as a pyarrow table, one row per feature per seed of all cohorts.
- `cohort.sae_path(seed)` is the folder of one trained SAE: `engine.saes.formats.load_sae` loads it.
- `study.summary` is summary.json as it is; "How to read the numbers" in the report explains every entry.
- Another null, more seeds or longer training: change the study file and `husai-engine run` it; only what
  changed is computed anew."""


def make_notebook(study: StudyResults) -> Any:
    """Return a notebook (`nbformat.NotebookNode`, version 4) on a finished study.

    Raises:
        EnvironmentUnfit: nbformat is not installed.
    """
    v4 = _nbformat().v4
    markdown, code = v4.new_markdown_cell, v4.new_code_cell
    runs, name = str(study.runs.resolve()), study.name
    title = TITLE.format(
        name=name,
        description=study.summary["description"],
        report=study.report.resolve() / "report.html",
    )
    cells = [
        markdown(title),
        code(SETUP.format(runs=runs, name=name)),
        markdown(VERDICT),
        code(VERDICT_CODE),
        markdown(LADDER),
        code(LADDER_CODE),
        markdown(DISTRIBUTION),
        code(DISTRIBUTION_CODE),
        markdown(DENSITY),
        code(DENSITY_CODE),
        markdown(LOOKUP),
        code(LOOKUP_CODE),
        markdown(COMPARE),
        code(COMPARE_CODE),
        markdown("## Training"),
        code(CURVES_CODE),
        markdown(ONWARD),
    ]
    for number, cell in enumerate(cells):
        cell["id"] = (
            f"cell-{number}"  # drawn at random otherwise: the same study gives the same file
        )
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def write_notebook(
    runs: Path, study: str, folder: Path | None = None, *, execute: bool = False
) -> Path:
    """Write `STUDY.ipynb` into a folder (the study's unless given) and return its path.

    Args:
        runs: the runs root.
        study: name of a study, or path of its file.
        folder: where to write; made if it is not there.
        execute: run every cell first, in a kernel of this Python, so that results stand in the file.

    Raises:
        InputError: there is no such study, or the folder is a file.
        JobFailed: the study has no report yet, or a cell failed.
        EnvironmentUnfit: nbformat, or for `execute` nbclient and ipykernel, are not installed; or the
            folder cannot be written.
    """
    results = read_study(runs, study)
    notebook = make_notebook(results)
    if execute:
        _execute(notebook)
    place = folder if folder is not None else results.runs / results.name
    if place.exists() and not place.is_dir():
        raise InputError(f"--out {place}", "is a file", "a folder")
    path = place / f"{results.name}.ipynb"
    content = (_nbformat().writes(notebook) + "\n").encode()
    try:
        place.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    except OSError as error:
        raise EnvironmentUnfit(
            f"{place}: cannot be written ({error.strerror or error}); --out DIR names another folder"
        ) from None
    return path


def _execute(notebook: Any) -> None:
    try:
        import ipykernel  # noqa: F401  (nbclient starts it by name)
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError
    except ImportError as error:
        raise EnvironmentUnfit(
            f"--execute: {error.name} is not installed; pip install 'husai[notebook]', or open the notebook "
            "without it"
        ) from None
    try:
        NotebookClient(notebook, timeout=SECONDS, kernel_name="python3").execute()
    except CellExecutionError as error:
        said = textwrap.shorten(f"{error.ename}: {error.evalue}", 300)
        raise JobFailed(f"a cell of the notebook failed: {said}") from None


def _nbformat() -> Any:
    try:
        import nbformat
    except ImportError:
        raise EnvironmentUnfit("nbformat is not installed; `pip install nbformat`") from None
    return nbformat
