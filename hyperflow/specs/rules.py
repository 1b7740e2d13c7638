"""The rules by which a single value is judged before it becomes part of a spec."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hyperflow.errors import InvalidParameter, one_of
from hyperflow.specs.addresses import check_url
from hyperflow.specs.values import check_quantity, check_service_name, format_value, is_number, mapping, whole

Rule = Callable[[str, Any], None]
"""Takes a parameter's name and value, and raises InvalidParameter where the value cannot work."""


def number_up_to(most: float, least: float = 0) -> Rule:
    """Allow numbers within bounds."""

    def rule(name: str, value: Any) -> None:
        if not is_number(value) or not least <= value <= most:
            raise InvalidParameter(name, value, f"a number from {format_value(least)} up to {format_value(most)}")

    return rule


def choice(*names: str) -> Rule:
    """Allow some names alone."""

    def rule(name: str, value: Any) -> None:
        if value not in names:
            raise InvalidParameter(name, value, one_of(names))

    return rule


def whole_number(least: int, most: int) -> Rule:
    """Allow whole numbers within bounds."""
    return lambda name, value: whole(name, value, least, most)


def text(name: str, value: Any) -> None:
    """Allow texts that are not empty."""
    if not isinstance(value, str) or not value:
        raise InvalidParameter(name, value, "a text that is not empty")


def address(name: str, value: Any) -> None:
    """Allow the base URL of a web server, and nothing for none."""
    if value:
        check_url(name, str(value))


def quantity(name: str, value: Any) -> None:
    """Allow amounts of cores or memory as Kubernetes writes them."""
    check_quantity(name, value)


def folder_name(name: str, value: Any) -> None:
    """Allow what can be the name of a folder."""
    text(name, value)
    if "/" in value or value.startswith("."):
        raise InvalidParameter(name, value, "a name for a folder, without / and not starting with .")


def service_name(name: str, value: Any) -> None:
    """Allow what can be the name of a service."""
    check_service_name(value)


def a_list(name: str, value: Any) -> None:
    """Allow lists."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InvalidParameter(name, value, "a list")


def an_object(name: str, value: Any) -> None:
    """Allow JSON objects."""
    mapping(name, value)


def its_specs_own(name: str, value: Any) -> None:
    """Leave the judgement to the spec that the value becomes part of."""
