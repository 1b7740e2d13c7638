"""What a trainer says of itself with `--describe`: the arguments it takes and the metrics it prints.

A JSON schema of its arguments; beside it `metrics`, the names of what it prints each epoch, `checkpoints`, whether a
training with more epochs goes on from that of one with fewer, and `presets`, values of several arguments by one name:

    {"type": "object", "additionalProperties": false, "metrics": ["loss"], "checkpoints": true,
     "properties": {"units": {"type": "integer", "minimum": 1, "maximum": 512}}}

What is judged of a schema is what search spaces and arguments consist of: numbers with bounds, and texts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hyperflow.errors import InvalidParameter, one_of
from hyperflow.specs.values import format_value


@dataclass(frozen=True)
class Description:
    """A trainer's arguments and metrics.

    Args:
        arguments: The JSON schema of each argument.
        metrics: What it prints each epoch; empty where it does not say.
        is_whole: Whether it takes no other arguments.
        checkpoints: Whether a training with more epochs goes on from a shorter one; None where it does not say.
        presets: What each value of the argument `preset` sets.
    """

    arguments: Mapping[str, Mapping[str, Any]]
    metrics: tuple[str, ...] = ()
    is_whole: bool = False
    checkpoints: bool | None = None
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Description:
        """Read what a trainer has printed.

        Raises:
            ValueError: It is no JSON schema of an object.
        """
        schema = json.loads(text)
        arguments = schema.get("properties") if isinstance(schema, dict) else None
        if not isinstance(arguments, dict) or not all(isinstance(each, dict) for each in arguments.values()):
            raise ValueError("it is no JSON schema with properties")
        metrics = tuple(str(name) for name in schema.get("metrics", ()))
        named = {_plain(name): entry for name, entry in arguments.items()}
        says, presets = schema.get("checkpoints"), schema.get("presets")
        return cls(
            named, metrics, schema.get("additionalProperties") is False, says if isinstance(says, bool) else None,
            presets if isinstance(presets, dict) else {},
        )  # fmt: skip

    def default(self, name: str, given: Mapping[str, object]) -> Any:
        """Return the value that an argument has beside those that are given, or None where that is not said."""
        preset = self.presets.get(str(given.get("preset")), {})
        return preset.get(name, self.arguments.get(name, {}).get("default"))

    def judge(self, parameter: str, name: str, value: object) -> None:
        """Refuse a value that the trainer would refuse.

        Args:
            parameter: What the user calls it.
            name: The trainer's argument.
            value: Its value, as it would be given.

        Raises:
            InvalidParameter: There is no such argument, or it cannot have this value.
        """
        entry = self.arguments.get(_plain(name))
        if entry is None:
            if self.is_whole:
                raise InvalidParameter(parameter, value, f"arguments that the trainer has: {one_of(self.arguments)}")
        elif not _fits(entry, value):
            raise InvalidParameter(parameter, value, allowed(entry))

    def judge_metric(self, parameter: str, name: str) -> None:
        """Refuse a metric that the trainer does not print.

        Raises:
            InvalidParameter: It does not.
        """
        if self.metrics and name not in self.metrics:
            raise InvalidParameter(parameter, name, f"a metric that the trainer prints: {one_of(self.metrics)}")


def allowed(entry: Mapping[str, Any]) -> str:
    """Word what an argument's schema allows."""
    if "enum" in entry:
        return one_of(str(each) for each in entry["enum"])
    kind = {"integer": "a whole number", "number": "a number"}.get(str(entry.get("type")), "a text")
    least, above = entry.get("minimum"), entry.get("exclusiveMinimum")
    most, below = entry.get("maximum"), entry.get("exclusiveMaximum")
    start = (
        f" from {format_value(least)}"
        if least is not None
        else f" above {format_value(above)}"
        if above is not None
        else ""
    )
    end = (
        f"to {format_value(most)}"
        if most is not None
        else f"to below {format_value(below)}"
        if below is not None
        else ""
    )
    return f"{kind}{start}{(', up ' if above is not None and end else ' ') if end else ''}{end}"


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _fits(entry: Mapping[str, Any], value: object) -> bool:
    if "enum" in entry:
        return str(value) in [str(each) for each in entry["enum"]]
    if entry.get("type") not in ("integer", "number"):
        return True
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    if isinstance(value, bool) or not math.isfinite(number) or (entry["type"] == "integer" and not number.is_integer()):
        return False
    least, most = float(entry.get("minimum", -math.inf)), float(entry.get("maximum", math.inf))
    above, below = float(entry.get("exclusiveMinimum", -math.inf)), float(entry.get("exclusiveMaximum", math.inf))
    return least <= number <= most and above < number < below
