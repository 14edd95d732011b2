"""The gates of a subject as a table: what was checked, what was measured for it, in words."""

from __future__ import annotations

from engine.disk.text import bare
from engine.report.markup import Cell, paragraph, table
from engine.report.wording import MISSING, Record, quantity

Row = list[str | Cell]
MEASURED = {
    "read_position": "read position",
    "read_tokens": "different tokens there",
    "later_positions": "positions after it",
    "later_token_logit_change": "largest change of a logit when later tokens change",
    "probe_accuracy": "accuracy of a linear probe on the read token's embedding",
    "visible_token_accuracy": "accuracy from any one visible token",
    "accuracy_allowed": "accuracy allowed to both",
    "history_checked": "course of training checked",
    "test_alarm_step": "test accuracy reaches .9 at step",
    "train_learnt_step": "training accuracy reaches .99 by step",
    "t_train": "training pairs fitted (t₁) at steps",
    "t_test": "test pairs generalised (t₂) at steps",
    "delay": "t₂ as a multiple of the least delay, 2 t₁",
    "final_evaluations": "evaluations in the last 5 % of the steps",
    "final_lowest_accuracy": "lowest accuracy there",
    "shared_pairs": "pairs in both splits",
    "key_frequencies": "key frequencies",
    "key_count": "how many FVE .95 takes",
    "alpha": "their strengths α",
    "fve": "FVE of the key frequencies",
    "fve_all": "FVE of all frequencies (1 for a table of the answers, too)",
    "embedding_gini": "Gini index of the embedding's frequency powers",
    "restricted_test_loss": "test loss with the key frequencies alone",
    "excluded_train_loss": "training loss without them",
    "uniform_loss": "loss of a uniform guess, ln p",
}
"""What a gate measured, by the name that it has in the summary."""
INTERVALS = frozenset({"t_train", "t_test"})
"""Measured as the evaluation before a crossing and the first after it."""


def gates_table(gates: Record) -> str:
    """Return every gate with its evidence."""
    rows: list[Row] = [
        [
            Cell(f"{gate['name']} {gate['title']}", "w"),
            "holds" if gate["passed"] else Cell(f"failed: {bare(str(gate['reason']))}", "no"),
            "; ".join(_measured(name, value) for name, value in gate["evidence"].items()),
        ]
        for gate in gates["gates"]
    ]
    policy = f"Policy: {gates['policy']}."
    return table(("gate", "result", "measured"), rows, texts=True) + paragraph(policy, "note")


def _measured(name: str, value: object) -> str:
    title = MEASURED.get(name, name.replace("_", " "))
    if name in INTERVALS and isinstance(value, (list, tuple)) and None not in value:
        return f"{title} {'–'.join(_text(item) for item in value)}"
    return f"{title}: {_text(value)}"


def _text(value: object) -> str:
    if value is None:
        return MISSING
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return quantity(int(value) if value == int(value) and abs(value) >= 2 else value)
    return str(value)
