"""How a pipeline takes the parameters, and how each step is handed those that it asks for."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from kfp import dsl

from components import MODEL_IMAGE
from hyperflow.parameters import TABLE
from pipelines import server

_IMAGES = {"trainer_image": MODEL_IMAGE, "serving_image": MODEL_IMAGE}
Given = dict[str, Any]
"""What steps may ask for, by name: the pipeline's parameters, and what earlier steps gave."""


def pipeline(name: str, *, recurring: bool = False) -> Callable[[Callable[[Given], None]], Any]:
    """Make a pipeline of its graph: a function that takes the parameters by name.

    KFP reads parameters, types and defaults from a signature and their meanings from a docstring; both are made here,
    from the table of parameters.

    Args:
        name: The pipeline's name.
        recurring: Whether it has the parameters of recurring runs too.
    """
    entries = {each: entry for each, entry in TABLE.items() if recurring or not entry.recurring}

    def declare(graph: Callable[[Given], None]) -> Any:
        @functools.wraps(graph)
        def traced(*values: Any) -> None:
            graph(dict(zip(entries, values, strict=True)))

        traced.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(
                    each, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=entry.type,
                    default=_IMAGES.get(each, _plain(entry.default)),
                )
                for each, entry in entries.items()
            ]
        )  # fmt: skip
        meanings = "".join(f"    {each}: {entry.meaning}\n" for each, entry in entries.items())
        traced.__doc__ = f"{inspect.getdoc(graph)}\n\nArgs:\n{meanings}"
        return dsl.pipeline(name=name, pipeline_config=server.pipeline_config())(traced)

    return declare


def step(component: Any, given: Mapping[str, Any], **more: Any) -> Any:
    """Make a step of a component, handing it by name those of the values that it has inputs for, and no others."""
    asked = {name: given[name] for name in component.component_spec.inputs if name in given}
    return component(**{**asked, **more})


def _plain(value: Any) -> Any:
    """Copy a default into what KFP writes: dicts and lists."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
