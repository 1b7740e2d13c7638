"""A compiled pipeline's parameters: what it declares, and a user's texts read by its types."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from hyperflow.errors import InvalidParameter, Unavailable, one_of


def read_values(pipeline: Path, assignments: Iterator[str] | list[str]) -> dict[str, Any]:
    """Read `name=value` texts by the types that the compiled pipeline declares.

    Raises:
        InvalidParameter: There is no such parameter, or the text does not read as its type.
    """
    types = declared(pipeline)
    values = {}
    for assignment in assignments:
        name, found, text = assignment.partition("=")
        if not found:
            raise InvalidParameter("--set", assignment, "name=value")
        if name not in types:
            raise InvalidParameter("--set", name, _instead(name, list(types)))
        values[name] = _typed(name, text, types[name]["parameterType"])
    return values


def declared(pipeline: Path) -> dict[str, dict[str, Any]]:
    """Return the parameters that a compiled pipeline declares: type, default and description by name.

    Raises:
        Unavailable: There is no such pipeline.
    """
    try:
        with pipeline.open(encoding="utf-8") as file:
            specification = next(yaml.load_all(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except OSError as error:
        raise Unavailable(f"there is no pipeline at {pipeline}", str(error), _others(pipeline)) from error
    parameters: dict[str, dict[str, Any]] = specification["root"]["inputDefinitions"]["parameters"]
    return parameters


def _others(pipeline: Path) -> str:
    """Say what could be given in place of a pipeline that is not there."""
    names = sorted(path.stem for path in pipeline.parent.glob("*.yaml"))
    if not names:
        return "run `python compile.py`"
    return f"give {one_of(names)}, or the path of another compiled pipeline"


def whole(pipeline: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Make the whole numbers whole again that KFP writes as floats, inside of objects and lists too."""
    types = declared(pipeline)
    as_given = {name for name in values if types[name]["parameterType"] == "NUMBER_DOUBLE"}
    return {name: value if name in as_given else _whole(value) for name, value in values.items()}


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _typed(name: str, text: str, kind: str) -> Any:
    """Read a value's text by its KFP type."""
    if kind == "STRING":
        return text
    try:
        value: Any = json.loads(text.lower() if kind == "BOOLEAN" else text)
    except ValueError:
        value = None
    wanted: dict[str, tuple[type, ...]] = {
        "NUMBER_INTEGER": (int,), "NUMBER_DOUBLE": (int, float), "BOOLEAN": (bool,), "LIST": (list,), "STRUCT": (dict,),
    }  # fmt: skip
    words = {
        "NUMBER_INTEGER": "a whole number", "NUMBER_DOUBLE": "a number", "BOOLEAN": "true or false",
        "LIST": "a JSON list", "STRUCT": "a JSON object",
    }  # fmt: skip
    if not isinstance(value, wanted[kind]) or (isinstance(value, bool) and kind != "BOOLEAN"):
        raise InvalidParameter(name, text, words[kind])
    return float(value) if kind == "NUMBER_DOUBLE" else value  # type: ignore[arg-type]


def _instead(name: str, names: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, names, 3, cutoff=0.75)
    if close:
        return f"a parameter of the pipeline: {' or '.join(close)}"
    trained = f'what the trainer takes in trainer_arguments={{"{name}": …}}, what is searched in search_space'
    return f"{trained}, and else a parameter of the pipeline: {', '.join(sorted(names))}"
