"""Trends in words: how κ goes along what a study varied, or why nothing can be said of it."""

from __future__ import annotations

from engine.report.contrasts import signed_interval
from engine.report.wording import MISSING, Record, fraction, quantity, short_null


def subject_of(trend: Record) -> str:
    """Return whose κ it is and along what: `topk 512, width 32 to 1,024`."""
    values = [value for value in trend["x"] if value is not None]
    ends = f" {quantity(min(values))} to {quantity(max(values))}" if values else ""
    return f"{trend['line']}, {trend['name']}{ends}"


def against_text(trend: Record) -> str:
    """Return what κ is taken against where the nulls of the points are of different kinds, else ``''``."""
    if not trend.get("kappa_against"):
        return ""
    kinds = ", ".join(dict.fromkeys(short_null(name) for name in trend["null_names"] if name))
    common = f"against {short_null(trend['against'])} at every point"
    return f"{common}, as the largest nulls are of several kinds ({kinds})"


def slope_text(trend: Record) -> str:
    """Return the change of κ for each doubling, with its interval: `−.03 [−.05, −.01]`."""
    if trend["slope"] is None:
        return MISSING
    if trend["interval"] is None:
        return fraction(trend["slope"], 3)
    return signed_interval(trend["slope"], trend["interval"])


def direction_text(trend: Record) -> str:
    """Return in a word where κ goes; a direction only where the interval of the slope leaves out 0."""
    if trend["refusals"]:
        return "refused"
    if trend["direction"] in ("rises", "falls"):
        return str(trend["direction"])
    return "open: no interval" if trend["interval"] is None else "open: the interval holds 0"


def trend_sentence(trend: Record) -> str:
    """Return a trend as one sentence."""
    about = subject_of(trend)
    if trend["refusals"]:
        return f"{about}: no trend is told, because {'; '.join(trend['refusals'])}."
    each = f"{slope_text(trend)} for each doubling (95 % joint interval over seeds)"
    if said := against_text(trend):
        each += f", {said}"
    if trend["direction"] in ("rises", "falls"):
        return f"{about}: κ {trend['direction']}, {each}."
    return f"{about}: whether κ rises or falls is open, {each}."


def ends_text(trend: Record) -> str:
    """Return κ at both ends of the sweep, against the null that its slope is of: `.08 → .12`."""
    kappas = trend.get("kappa_against") or trend["kappa"]
    known = [value for value in kappas if value is not None]
    return f"{fraction(known[0])} → {fraction(known[-1])}" if known else MISSING
