"""Where pods may run: node selectors and tolerations, by the rules of the Kubernetes API.

Katib creates a trial's job long after the Experiment was admitted, so that a mistake here would show only there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from hyperflow.errors import InvalidParameter, one_of

_PREFIX = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/"
_WORD = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(f"({_PREFIX})?{_WORD}")
_VALUE = re.compile(f"({_WORD})?")

_FIELDS = ("key", "operator", "value", "effect", "tolerationSeconds")
_OPERATORS = ("Equal", "Exists")
_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")


def check_node_selector(selector: Mapping[str, object]) -> None:
    """Refuse labels that no node can have.

    Raises:
        InvalidParameter: A name or a value is no label's.
    """
    for key, value in selector.items():
        if not _fits(_KEY, key):
            raise InvalidParameter("node_selector", key, "names of labels, such as disktype or example.com/zone")
        if not _fits(_VALUE, value):
            raise InvalidParameter(f"node_selector[{key}]", value, f"{_TEXT} (numbers and true in quotes)")


def toleration(given: Mapping[str, object]) -> dict[str, object]:
    """Return a toleration as Kubernetes takes it: KFP hands on the whole numbers in it as floats.

    Raises:
        InvalidParameter: Kubernetes would refuse it.
    """
    made = dict(given)
    for name in made:
        if name not in _FIELDS:
            raise InvalidParameter(f"tolerations[{name}]", made[name], f"only {one_of(_FIELDS)}")
    _check_choice(made, "operator", _OPERATORS)
    _check_choice(made, "effect", _EFFECTS)
    _check_match(made)
    if "tolerationSeconds" in made:
        made["tolerationSeconds"] = _seconds(made)
    return made


_TEXT = "a text of up to 63 letters, digits, -, _ and ."


def _check_choice(made: Mapping[str, object], name: str, choices: tuple[str, ...]) -> None:
    if name in made and made[name] not in choices:
        raise InvalidParameter(f"tolerations[{name}]", made[name], f"{one_of(choices)}, or leave it out")


def _check_match(made: Mapping[str, object]) -> None:
    """Check key and value, of which each operator takes others."""
    exists = made.get("operator") == "Exists"
    key, value = made.get("key", ""), made.get("value", "")
    if not (_fits(_KEY, key) or (key == "" and exists)):
        raise InvalidParameter("tolerations[key]", key, "the name of a taint; none only where the operator is Exists")
    if exists and value != "":
        raise InvalidParameter("tolerations[value]", value, "none, as the operator is Exists")
    if not _fits(_VALUE, value):
        raise InvalidParameter("tolerations[value]", value, f"{_TEXT} (numbers and true in quotes)")


def _seconds(made: Mapping[str, object]) -> int:
    seconds = made["tolerationSeconds"]
    if made.get("effect") != "NoExecute":
        raise InvalidParameter("tolerations[tolerationSeconds]", seconds, "none, as the effect is not NoExecute")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not float(seconds).is_integer():
        raise InvalidParameter("tolerations[tolerationSeconds]", seconds, "a whole number")
    return int(seconds)


def _fits(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
