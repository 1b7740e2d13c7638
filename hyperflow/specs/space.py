"""A search space in its JSON form, `{name: {"type": …, "min": …, …}}`, as dimensions."""

from __future__ import annotations

from collections.abc import Sequence

from hyperflow.errors import InvalidParameter
from hyperflow.specs.search import Dimension
from hyperflow.specs.values import integral, mapping

_KEYS = ("type", "min", "max", "step", "values", "distribution")


def read_space(space: object) -> tuple[Dimension, ...]:
    """Make a search space from its JSON form, `{name: {"type": …, "min": …, …}}`.

    KFP hands on whole numbers inside JSON as floats, and objects in any order: the numbers are made whole again
    where the type asks for it, and the dimensions come in the order of their names.

    Raises:
        InvalidParameter: It is of another form, or a parameter cannot work.
    """
    entries = mapping("search_space", space)
    return tuple(_dimension(name, entry) for name, entry in sorted(entries.items()))


def _dimension(name: str, entry: object) -> Dimension:
    settings = dict(mapping(f"search_space[{name}]", entry))
    for key, value in settings.items():
        if key not in _KEYS:
            raise InvalidParameter(f"search_space[{name}].{key}", value, f"only {', '.join(_KEYS)}")
    if "type" not in settings:
        raise InvalidParameter(f"search_space[{name}]", entry, "a type: double, int, discrete or categorical")
    if "values" in settings:
        values = settings["values"]
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise InvalidParameter(f"search_space[{name}].values", values, "a list")
        settings["values"] = tuple(integral(value) for value in values)
    return Dimension(name, **settings)
