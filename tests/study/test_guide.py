from __future__ import annotations

from engine.metrics.uncertainty import verdict
from engine.study.guide import CHAPTERS, MODERATE_BELOW, WEAK_BELOW


def test_the_words_of_the_verdict_begin_where_the_guide_says() -> None:
    def word(kappa: float) -> str:
        return verdict(kappa, (kappa - 1e-6, kappa + 1e-6))

    assert [word(WEAK_BELOW - 1e-3), word(WEAK_BELOW)] == ["weak", "moderate"]
    assert [word(MODERATE_BELOW - 1e-3), word(MODERATE_BELOW)] == ["moderate", "strong"]
    terms = {term.name: term for chapter in CHAPTERS for term in chapter.terms}
    assert "below κ 0.2, moderate below 0.6" in terms["verdict"].means


def test_every_term_stands_once_and_says_something() -> None:
    names = [term.name for chapter in CHAPTERS for term in chapter.terms]
    assert len(names) == len(set(names))
    for word in (
        "observed",
        "null",
        "κ",
        "95 % CI",
        "EV",
        "L0",
        "dead",
        "recall",
        "precision",
        ".7",
    ):
        assert word in names
    said = [t for chapter in CHAPTERS for term in chapter.terms for t in (term.means, term.beware)]
    assert all(text.endswith(".") and "!" not in text for text in said if text)


def test_the_thresholds_are_told_with_the_values_of_chance() -> None:
    """science.md §8: E max|cos|, d = 128, n = 1024 and 64; d = 512, n = 1024."""
    text = " ".join(f"{t.means} {t.beware}" for t in CHAPTERS[-1].terms)
    assert all(value in text for value in (".2988", ".2275", ".1514"))
