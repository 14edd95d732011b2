"""Code is parsed though other threads parse at the same time: Python 3.11 mixes their depths up."""

from __future__ import annotations

import ast

import pytest

from engine.study import fingerprint


def test_a_parsing_that_another_thread_spoilt_is_done_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parse, left = ast.parse, [3]

    def spoilt(text: str) -> ast.Module:
        left[0] -= 1
        if left[0] > 0:
            raise SystemError("AST constructor recursion depth mismatch (before=57, after=127)")
        return parse(text)

    monkeypatch.setattr(ast, "parse", spoilt)
    assert ast.dump(fingerprint.parse_among_threads("a = 1")) == ast.dump(parse("a = 1"))
    assert left == [0]


def test_a_parsing_that_always_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(text: str) -> ast.Module:
        raise SystemError("broken")

    monkeypatch.setattr(ast, "parse", fail)
    with pytest.raises(SystemError):
        fingerprint.parse_among_threads("a = 1")
