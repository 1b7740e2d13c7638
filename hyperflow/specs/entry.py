"""A line of the table of parameters: default, meaning, rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from hyperflow.specs import rules

_T = TypeVar("_T")


@dataclass(frozen=True)
class Entry:
    """A line of the table.

    Args:
        default: The value where the user gives none.
        meaning: What it is, for whoever reads the UI, the command line or the docs.
        rule: Refuses a value by the parameter's name; rules of several parameters together are the specs'.
        recurring: Whether only the recurring pipeline has it.
        type: Its type, as KFP passes it.
    """

    default: Any
    meaning: str
    rule: rules.Rule
    recurring: bool = False
    type: type = str


def given(default: _T, meaning: str, rule: rules.Rule = rules.its_specs_own, *, recurring: bool = False) -> _T:
    """Make a line of the table in the place of a value of its type."""
    return Entry(default, meaning, rule, recurring)  # type: ignore[return-value]
