"""Recorded activations in words: what was in the files, and what cannot be measured without their model."""

from __future__ import annotations

from pathlib import PurePath

from engine.report.wording import MISSING, Record, percent, plural

UNMEASURED = (
    "No model comes with recorded activations, and their true features are not known. So there are no gates, "
    "no loss recovered, no causal effects, no recall or precision, and no SAEs of an untrained model (N4). The "
    "verdict needs none of them: it rests on the agreement of the seeds beyond chance."
)
"""What a reader would look for in vain, and why."""


def recording_name(summary: Record, subject: Record) -> str:
    """Return the name of the file or folder."""
    settings = summary["provenance"].get("settings", {}).get("subject", {})
    path = (subject.get("point") or {}).get("subject.path", settings.get("path"))
    return PurePath(str(path)).name if path else "files"


def recording_lines(summary: Record, subject: Record) -> list[tuple[str, str]]:
    """Return what is known of the files, line by line, each with its name."""
    kept, rows = subject["samples"], subject["rows"]
    inputs = f"{kept:,} of width {subject['d_in']:,}"
    if kept < rows:
        inputs += f", drawn from {rows:,}"
    if subject["sequences"]:
        inputs += f", tokens of {plural(subject['sequences'], 'sequence')}"
    files = f"{recording_name(summary, subject)}, {', '.join(subject['dtypes'])}"
    if subject["files"] > 1:
        files += f", {plural(subject['files'], 'file')}"
    if subject["tensor"]:
        files += f", tensor {subject['tensor']}"
    return [
        ("files", files),
        ("sha256", str(subject["sha256"])),
        ("inputs", inputs),
        ("equal to an earlier one", percent(subject["repeated"], 1)),
        ("zero throughout", f"{subject['zero_rows']:,}"),
        ("constant columns", f"{subject['constant_columns']:,} of {subject['d_in']:,}"),
    ]


def recording_method(summary: Record) -> str:
    """Return the paragraph of the methods section."""
    subject = summary["subject"]
    hooks = ", ".join(dict.fromkeys(str(cohort["hook"]) for cohort in summary["cohorts"]))
    settings = summary["provenance"].get("settings", {}).get("subject", {})
    told = dict(recording_lines(summary, subject))
    seed = settings.get("sample_seed", MISSING)
    drawn = f" (without replacement, seed {seed})" if subject["samples"] < subject["rows"] else ""
    return (
        f"Activations recorded elsewhere, called {hooks}: {told['files']}; inputs: {told['inputs']}{drawn}, "
        f"read as float32. sha256 of the content: {told['sha256'][:16]}…, in full above."
    )
