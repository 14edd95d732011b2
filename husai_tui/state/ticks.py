"""Axes: round numbers on them, and ranges that stay where they are while curves grow."""

from __future__ import annotations

import math

from engine.disk.text import bare

_ROUND = (1.0, 2.0, 5.0)
_GRADES = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
_DIGITS = tuple(float(digit) for digit in range(1, 10))
FEWEST_DIGITS = 1e-12
"""Share of itself by which a value must change to be drawn as changed."""
LEAST_ROOM = 1e-200
LEAST_USED = 0.4
"""Share of its axis that a curve must fill; below it the axis is made anew."""


def round_up(value: float) -> float:
    """Return the next of 1, 2, 5, 10, 20, 50, … that is at least a positive value."""
    power = 10.0 ** math.floor(math.log10(value))
    for factor in (*_ROUND, 10.0):
        if factor * power >= value * (1 - 1e-9):
            return factor * power
    return 10.0 * power


def spaced(low: float, high: float, most: int) -> list[float]:
    """Return round numbers from `low` to `high`, evenly spaced, at most so many (at least one)."""
    if not high > low:
        return [low]
    step = (high - low) / max(1, most)
    while True:
        step = round_up(step)
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < max(1, most):
            # Not first * step + step + …: sums of tenths drift.
            return [place * step for place in range(first, last + 1)] or [low]
        step *= 1.5


def decades(low: float, high: float, most: int) -> list[float]:
    """Return round numbers for a logarithmic axis: powers of ten, with others between where there is room."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    for factors in (_DIGITS, _ROUND, (1.0, 3.0), (1.0,)):
        found = [f * 10.0**power for power in range(first, last + 1) for f in factors]
        found = [value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        if 2 <= len(found) <= most:
            return found
    every = max(1, math.ceil((last - first + 1) / max(1, most)))
    powers = [10.0**power for power in range(first, last + 1, every)]
    found = [value for value in powers if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
    return found if len(found) >= 2 else [low, high]


def fit(low: float, high: float, most: int) -> tuple[float, float]:
    """Return a range of round numbers around values; one value gets some room around it."""
    if high - low <= max(FEWEST_DIGITS * max(abs(low), abs(high)), LEAST_ROOM):
        room = abs(low) / 10 if abs(low) > LEAST_ROOM else 1.0
        low, high = low - room, high + room
    step = round_up((high - low) / max(1, most - 1))
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def fit_log(low: float, high: float) -> tuple[float, float]:
    """Return a range of fairly round numbers around positive values."""
    if high <= low:
        low, high = low / 2, high * 2
    first, last = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.floor(math.log10(high))
    below = [grade * first for grade in _GRADES if grade * first <= low * (1 + 1e-9)]
    above = [grade * last for grade in (*_GRADES, 10.0) if grade * last >= high * (1 - 1e-9)]
    return below[-1], above[0]


def holds(kept: tuple[float, float], low: float, high: float, log: bool) -> bool:
    """Return whether a range may stay: it has all values in it, and they fill enough of it."""
    if low < kept[0] or high > kept[1]:
        return False
    if log:
        return math.log(high / low) >= LEAST_USED * math.log(kept[1] / kept[0])
    return high - low >= LEAST_USED * (kept[1] - kept[0])


def reach(last: float, end: float | None) -> float:
    """Return where an axis ends while a curve grows to `last`: the next power of two, or the known end.

    What is drawn stays where it is until the curve is twice as long.
    """
    snapped = 2.0 ** math.ceil(math.log2(max(last, 1.0)))
    return min(snapped, end) if end and end >= last else snapped


def number(value: float, digits: int = 3) -> str:
    """Return a number in few characters: three digits that count, `12.3k`, `4.1e-5`; `–` if it is none."""
    if not math.isfinite(value):
        return "–"
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 999.5:
        for limit, letter in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
            if size < limit * 999.5:
                shown = math.copysign(max(size / limit, 1.0), value)
                return f"{_plain(shown, digits)}{letter}"
        return _power(value)
    if size < 1e-3:
        return _power(value)
    return _plain(value, digits)


def _plain(value: float, digits: int) -> str:
    if value == round(value):
        return f"{value:.0f}"
    whole = max(0, math.floor(math.log10(abs(value))) + 1)
    return bare(f"{value:.{max(0, digits - whole)}f}")


def _power(value: float) -> str:
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def percent(value: float) -> str:
    """Return a share as a percentage: `1.8 %`, `100 %`."""
    if not math.isfinite(value):
        return "–"
    return f"{100 * value:.0f} %" if value in (0.0, 1.0) else f"{100 * value:.1f} %"


def powers(values: list[float]) -> list[str]:
    """Return the numbers of a logarithmic axis: `.01`, `1`, `500`, `10k`, `1e-4`."""
    return [bare(f"{value:.3g}") if 1e-3 <= value < 1e3 else number(value) for value in values]


def labels(values: list[float]) -> list[str]:
    """Return evenly spaced numbers with as many digits as tell them apart; `1.5k` from ten thousand on."""
    if len(values) < 2:
        return [number(value) for value in values]
    step, largest = values[1] - values[0], max(abs(value) for value in values)
    scale, letter = 1.0, ""
    for limit, name in ((1e4, "k"), (1e7, "M"), (1e10, "G")):
        if largest >= limit:
            scale, letter = limit / 10, name
    if largest < 1e-3 or step <= 0.0 or not math.isfinite(step):
        return [number(value) for value in values]
    places = max(0, -math.floor(math.log10(step / scale) + 1e-9))
    return ["0" if value == 0 else bare(f"{value / scale:.{places}f}{letter}") for value in values]
