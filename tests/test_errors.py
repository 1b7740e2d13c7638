"""Errors say what, why and what to do, and keep it between processes."""

from __future__ import annotations

import pickle
from collections.abc import Iterable

import pytest

from hyperflow.errors import HyperflowError, InvalidParameter, one_of


def test_message_has_cause_and_remedy() -> None:
    error = HyperflowError("it broke", "two\nlines", "mend it")
    assert str(error) == "it broke\n  cause: two\n    lines\n  remedy: mend it"


def test_invalid_parameter_is_the_same_in_another_process() -> None:
    sent = pickle.loads(pickle.dumps(InvalidParameter("epochs", 0, "a whole number")))
    assert (sent.name, sent.value, sent.allowed) == ("epochs", 0, "a whole number")
    assert str(sent) == "parameter 'epochs' cannot be 0\n  remedy: give a whole number"


@pytest.mark.parametrize(("names", "worded"), [({"b", "a", "c"}, "a, b or c"), (["b", "a"], "a or b"), (["a"], "a")])
def test_what_is_allowed_is_worded(names: Iterable[str], worded: str) -> None:
    assert one_of(names) == worded
