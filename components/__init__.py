"""The pipeline steps as KFP components: a typed signature each, and a thin body over the step of the same name.

Each runs in the `steps` image with nothing installed at run time; on this machine, in the
interpreter that runs it. An input that is a parameter is described by the table of parameters.
"""

from __future__ import annotations

import ast
import inspect
import os
from collections.abc import Callable
from typing import Any

from kfp import dsl

from hyperflow import __version__
from hyperflow.parameters import TABLE

IMAGE = os.environ.get("HYPERFLOW_IMAGE") or f"hyperflow-steps:{__version__}"
MODEL_IMAGE = os.environ.get("HYPERFLOW_MODEL_IMAGE") or f"hyperflow-model:{__version__}"


def component(function: Callable[..., Any]) -> Any:
    """Make a component of a function whose body runs as it stands here.

    Its docstring needs to describe only the inputs that are no parameters, and those that mean something else here. It
    becomes the component's description and leaves the program, which a finished Workflow repeats six times.
    """
    function.__doc__ = described(function)
    made = dsl.component(function, base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
    command = made.component_spec.implementation.container.command
    command[-1] = _without_docstring(command[-1])
    return made


def described(function: Callable[..., Any]) -> str:
    """Return a function's docstring with the meaning of each parameter that it takes and does not describe itself."""
    text = inspect.getdoc(function) or ""
    own, of_table = text.partition("Returns:")[0], []
    for name in inspect.signature(function).parameters:
        if name in TABLE and f"\n    {name}: " not in own:
            of_table.append(f"    {name}: {TABLE[name].meaning}")
    if "Args:\n" not in text:
        before, returns, after = text.partition("Returns:")
        text = f"{before}Args:\n\n{returns}{after}"
    return text.replace("Args:\n", "Args:\n" + "".join(f"{line}\n" for line in of_table), 1)


def _without_docstring(program: str) -> str:
    (function,) = (node for node in ast.parse(program).body if isinstance(node, ast.FunctionDef))
    if ast.get_docstring(function) is None:
        return program
    text, lines = function.body[0], program.splitlines(keepends=True)
    return "".join(lines[: text.lineno - 1] + lines[text.end_lineno :])
