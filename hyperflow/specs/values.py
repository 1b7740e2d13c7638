"""Values, names and the rules that several specs share."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from hyperflow.errors import InvalidParameter

Value = float | int | str
"""A hyper-parameter's value: a number, or one of a categorical parameter's texts."""

PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_SERVICE = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def format_value(value: Value) -> str:
    """Write a value as an engine passes it to a trainer: `64`, not `64.0`, and floats that read back the same."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return repr(value) if isinstance(value, float) else str(value)


def fingerprint(spec: object) -> str:
    """Digest a spec, so that two attempts can tell whether they were asked for the same; as `==` does."""
    text = json.dumps(spec, default=_plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def job_name(task: str, run_id: str) -> str:
    """Name a job after its task and run, in at most 40 characters (Katib's limit), the same at every call."""
    room = 40 - len(task) - 1
    if len(run_id) <= room:
        return f"{task}-{run_id}"
    digest = hashlib.sha256(run_id.encode()).hexdigest()[:8]
    return f"{task}-{run_id[: room - 9].rstrip('-')}-{digest}"


def check_run_id(run_id: str) -> None:
    """Refuse a run id that could not be a Kubernetes label and a folder's name.

    Raises:
        InvalidParameter: It has other characters than a-z, 0-9 and -, or more than 63.
    """
    if not isinstance(run_id, str) or not LABEL.fullmatch(run_id):
        raise InvalidParameter("run_id", run_id, "1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends")


def check_service_name(name: str) -> None:
    """Refuse a name that KServe or the host names derived from it would refuse.

    Raises:
        InvalidParameter: It does not fit.
    """
    if not isinstance(name, str) or not _SERVICE.fullmatch(name) or len(name) > 40:
        raise InvalidParameter("model_name", name, "1 to 40 of a-z, 0-9 and -, starting with a letter, not ending in -")


def check_claim(claim: str) -> None:
    """Refuse a claim name that KFP could not mount: it becomes the volume's name too, so no dots.

    Raises:
        InvalidParameter: It does not fit.
    """
    if not isinstance(claim, str) or not LABEL.fullmatch(claim):
        raise InvalidParameter("claim", claim, "the name of a volume claim: 1 to 63 of a-z, 0-9 and -")


def check_values(where: str, values: Mapping[str, Value]) -> None:
    """Refuse hyper-parameters or arguments that could not stand in a command line as `--name=value`.

    Raises:
        InvalidParameter: A name or a value cannot.
    """
    for name, value in values.items():
        if not isinstance(name, str) or not PARAMETER_NAME.fullmatch(name):
            raise InvalidParameter(f"{where}[{name}]", value, "names of letters, digits, _ and -, as in a command line")
        if not isinstance(value, (str, bool)) and not (is_number(value) and math.isfinite(value)):
            raise InvalidParameter(f"{where}[{name}]", value, "a finite number or a text")


def check_quantity(name: str, value: object) -> None:
    """Refuse what is not an amount of cores or memory.

    Raises:
        InvalidParameter: Kubernetes could not read it.
    """
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise InvalidParameter(name, value, "a Kubernetes quantity such as 2, 500m or 4Gi")


def whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """Refuse what is not a whole number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        upper = "" if most is None else f" up to {most}"
        raise InvalidParameter(name, value, f"a whole number from {least}{upper}")


def fraction(name: str, value: object) -> None:
    """Refuse what is not a number from 0 to 1."""
    if not is_number(value) or not 0 <= float(value) <= 1:  # type: ignore[arg-type]
        raise InvalidParameter(name, value, "a number from 0 to 1")


def integral(value: object) -> object:
    """Make a float whole again that KFP has made of a whole number inside JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def mapping(name: str, value: object) -> dict[str, Any]:
    """Return a JSON object as a dict, or refuse what is none."""
    if not isinstance(value, Mapping):
        raise InvalidParameter(name, value, "a JSON object")
    return {str(key): item for key, item in value.items()}


def is_number(value: object) -> bool:
    """Tell a number from everything else, booleans included."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def reads_as_number(text: str) -> bool:
    """Tell whether a text reads as a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return {item.name: getattr(value, item.name) for item in fields(value) if item.compare}  # type: ignore[arg-type]


def freeze(spec: object, name: str, mapping: Mapping[str, object]) -> None:
    """Keep a mapping from being changed, in the order of its keys: KFP hands JSON objects on in any order."""
    object.__setattr__(spec, name, MappingProxyType(dict(sorted(mapping.items()))))
