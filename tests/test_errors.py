"""Errors say what, why and what to do, and keep it between processes."""

from __future__ import annotations

from hyperflow.errors import HyperflowError


def test_message_has_cause_and_remedy() -> None:
    error = HyperflowError("it broke", "two\nlines", "mend it")
    assert str(error) == "it broke\n  cause: two\n    lines\n  remedy: mend it"
