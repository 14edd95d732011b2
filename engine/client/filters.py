"""What a person types to choose and order features: `cos>0.9 mutual live freq=23 !dead`. Pure, and fast enough
to be asked at every key: [R] rows in, [R] out.

Words are joined by *and*; `!` in front of one turns it round. A value that is not known (NaN) satisfies no
comparison. `=` means equal in the decimals that were written: `cos=.9` is .85 to .95, `freq=23` is 23 alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from engine.client.features import FAMILIES, Column, Features
from engine.errors import InputError

Mask = NDArray[np.bool_]
Read = Callable[[Features], Column]


@dataclass(frozen=True)
class Value:
    """Something that rows are compared and ordered by."""

    read: Read
    """Returns it for every row, [R]; raises KeyError where a cohort has none."""
    meaning: str


def _column(name: str) -> Read:
    return lambda features: features.columns[name]


def _number_mutual(features: Features) -> Column:
    count: Column = features.mutual.sum(1)
    return count


VALUES = {
    "seed": Value(_column("seed"), "seed"),
    "feature": Value(_column("feature"), "number of the latent"),
    "cos": Value(_column("median_best_cosine"), "best cosine, median over the other seeds"),
    "mincos": Value(lambda f: f.best.min(1), "best cosine, in the seed that has it least"),
    "maxcos": Value(lambda f: f.best.max(1), "best cosine, in the seed that has it best"),
    "margin": Value(lambda f: f.margin, "best less second best cosine, median over the other seeds"),
    "mutual": Value(_number_mutual, "in how many other seeds partners name each other"),
    "stability": Value(_column("stability"), "share of other seeds that have it, mutual from .7 on"),
    "density": Value(_column("density"), "share of inputs on which it fires"),
    "align": Value(_column("enc_dec_alignment"), "cosine of encoder and decoder row"),
    "p": Value(_column("p_surrogate"), "how often features of the surrogate match as well"),
    "freq": Value(_column("frequency"), "frequency that explains most of its map; 0: none"),
    "selectivity": Value(_column("selectivity"), "share of its map's variance at that frequency"),
    "harmonics": Value(_column("frequency_family"), "the same with two and three times that frequency"),
    "plane": Value(_column("plane_frequency"), "frequency of the plane nearest to its decoder row"),
    "family": Value(_column("plane_family"), "argument of that plane: a, b, a+b, a-b or none"),
    "energy": Value(_column("plane_energy"), "share of the row that lies in that plane"),
    "answers": Value(_column("localisation"), "number of answers on which it is active"),
}  # fmt: skip
"""Name → what `name>number` and sorting read."""
WORDS: dict[str, Value] = {
    "live": Value(_column("live"), "fires often enough to be counted"),
    "dead": Value(lambda f: np.equal(f.columns["density"], 0), "fires on no input"),
    "mutual": Value(
        lambda f: np.asarray(f.mutual.all(1)), "in every other seed partners name each other"
    ),
}
"""Words that stand alone → whether each row is so."""
_WORD = re.compile(r"(?P<name>[^<>=!]+)(?:(?P<sign>>=|<=|!=|==|=|<|>)(?P<limit>.*))?")


def choose(features: Features, text: str) -> Mask:
    """Return which rows satisfy every word of a text; without a word, all do.

    Raises:
        InputError: a word is none; it is named, with what would be right.
    """
    chosen = np.ones(len(features), dtype=np.bool_)
    for word in text.split():
        turned = word.startswith("!")
        found = _holds(features, word, word.removeprefix("!").lower())
        chosen &= ~found if turned else found
    return chosen


def order(features: Features, key: str) -> NDArray[np.int64]:
    """Return the rows in the order of a value, the largest first with `-` in front; rows that are equal in it
    keep their order, and those where it is not known come last.

    Raises:
        InputError: there is no such value, or these features have none.
    """
    falling = key.startswith("-")
    values_R = _values(features, key, key.removeprefix("-").lower())
    values_R = values_R.astype(np.float64)
    # Sorting puts NaN last, also with the signs turned round.
    return np.argsort(-values_R if falling else values_R, kind="stable")


def _holds(features: Features, written: str, word: str) -> Mask:
    parts = _WORD.fullmatch(word)
    if parts is None:
        raise _unknown(written, word)
    name, sign, limit = parts["name"], parts["sign"], parts["limit"]
    if sign is None:
        if name in VALUES and name not in WORDS:
            raise InputError(
                written, "says nothing by itself", f"{name}>NUMBER, {name}=NUMBER, ..."
            )
        if name not in WORDS:
            raise _unknown(written, name)
        alone: Mask = WORDS[name].read(features).astype(np.bool_)
        return alone
    values_R = _values(features, written, name)
    if name == "family":
        return _of_family(written, values_R, sign, limit)
    try:
        number = float(limit)
    except ValueError:
        raise InputError(written, f"{limit!r} is no number", f"{name}{sign}0.5, say") from None
    return _compare(values_R, sign, number, _half_of_last_digit(limit))


def _values(features: Features, written: str, name: str) -> Column:
    if name not in VALUES:
        raise _unknown(written, name)
    try:
        return VALUES[name].read(features)
    except KeyError:
        what = f"features of {features.cohort} have no {name}"
        known = [other for other in VALUES if _has(features, other)]
        raise InputError(written, what, f"one of {', '.join(known)}") from None


def _has(features: Features, name: str) -> bool:
    try:
        VALUES[name].read(features)
    except KeyError:
        return False
    return True


def _compare(values_R: Column, sign: str, limit: float, near: float) -> Mask:
    found: Mask
    if sign in ("=", "==", "!="):
        equal: Mask = np.abs(values_R - limit) <= near
        found = equal if sign != "!=" else ~equal & ~np.isnan(values_R)
    elif sign.startswith(">"):
        found = values_R >= limit if sign == ">=" else values_R > limit
    else:
        found = values_R <= limit if sign == "<=" else values_R < limit
    return found


def _half_of_last_digit(text: str) -> float:
    """Return half of the last decimal's unit of a number as it was written: .05 of `0.9`, 0 of `23`."""
    digits, _, power = text.partition("e")
    decimals = len(digits.partition(".")[2])
    if not decimals and not power:
        return 0.0
    return 0.5 * 10.0 ** (int(power or 0) - decimals) * (1 + 1e-9)


def _of_family(written: str, values_R: Column, sign: str, limit: str) -> Mask:
    names = {**{name: number for number, name in enumerate(FAMILIES)}, "none": -1}
    if sign not in ("=", "==", "!=") or limit not in names:
        raise InputError(written, "is no family", f"family= {', '.join(names)}")
    equal: Mask = values_R == names[limit]
    return ~equal if sign == "!=" else equal


def _unknown(written: str, name: str) -> InputError:
    known = [*WORDS, *(value for value in VALUES if value not in WORDS)]
    near = get_close_matches(name, known, n=2)
    want = f"{' or '.join(near)}?" if near else f"one of {', '.join(known)}"
    return InputError(written, "is no word of the filter", want)
