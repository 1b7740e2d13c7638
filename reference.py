"""Write docs/reference from the code: `python reference.py`, or `--check` to see whether it is current."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from compile import COMPONENTS

ROOT = Path(__file__).parent
PAGES = ROOT / "docs" / "reference"
WRITTEN = "<!-- Written by reference.py from the code; change it there. -->"
TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false", dict: "object", list: "list"}
KFP_TYPES = {
    "Dict": dict,
    "List": list,
    "String": str,
    "Integer": int,
    "Float": float,
    "Boolean": bool,
    "JsonObject": dict,
    "JsonArray": list,
}


def main() -> int:
    """Write the pages, or compare them; return 1 where they are not what the code says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing; exit 1 on a difference")
    check = parser.parse_args().check
    drifted = [name for name, text in pages().items() if not _same(PAGES / name, text)]
    if check:
        print("\n".join([*drifted, "docs/reference differs from the code: run `python reference.py`"]) if drifted else
              "docs/reference is current", file=sys.stderr if drifted else sys.stdout)  # fmt: skip
        return 1 if drifted else 0
    PAGES.mkdir(exist_ok=True)
    for name, text in pages().items():
        (PAGES / name).write_text(text, encoding="utf-8")
    return 0


def pages() -> dict[str, str]:
    """Return every page by its file's name."""
    made = {
        "parameters.md": parameters(), "components.md": components(), "command-line.md": command_line(),
        "specs.md": specs(), "protocols.md": protocols(), "metrics.md": metrics(), "errors.md": errors(),
    }  # fmt: skip
    return {name: f"{WRITTEN}\n\n{text.strip()}\n" for name, text in made.items()}


def parameters() -> str:
    """Every parameter of the pipelines, from the one table."""
    from hyperflow.parameters import TABLE

    takers = {name: {each.name for each in _component(name).component_spec.inputs_list()} for name in COMPONENTS}
    parts = [
        "# Parameters\n",
        "Every parameter of the two pipelines. `hyperflow run --set NAME=VALUE` sets one on this machine, the Kubeflow "
        "UI and `hyperflow submit --set NAME=VALUE` on a cluster. Each value is checked before anything is created.\n",
    ]
    for name, entry in TABLE.items():
        steps = ", ".join(f"[`{step}`](components.md#{step})" for step in COMPONENTS if name in takers[step])
        facts = [f"Type: {TYPES[entry.type]}.", f"Default: `{json.dumps(entry.default, default=_plain)}`."]
        facts += ["Only in `retrain`."] if entry.recurring else []
        facts += [f"Read by {steps}."] if steps else []
        parts += [f"## `{name}`\n", f"{_text(entry.meaning)}\n", " ".join(facts) + "\n"]
    return "\n".join(parts)


def components() -> str:
    """Every component, as KFP sees it."""
    parts = [
        "# Components\n",
        "Each step of the pipelines is a component of its own, in `build/components`. Pipelines of yours can load it "
        "with `kfp.components.load_component_from_file`.\n",
    ]
    for name in COMPONENTS:
        spec = _component(name).component_spec
        parts += [f"## `{name}`\n", f"{_text(spec.description or '')}\n"]
        rows = [(f"`{each.name}`", each.kind, _text(each.meaning)) for each in spec.inputs_list()]
        parts += [_table(("input", "type", "meaning"), rows)]
        outputs = [(f"`{each.name}`", each.kind, _text(each.meaning)) for each in spec.outputs_list()]
        parts += [_table(("output", "type", "meaning"), outputs)] if outputs else []
    return "\n".join(parts)


def command_line() -> str:
    """Every command and its options."""
    import typer

    from hyperflow.cli import app

    group: Any = typer.main.get_command(app)
    parts = ["# Command line\n", "`hyperflow COMMAND --help` shows the same.\n"]
    for name, command in group.commands.items():
        words = " ".join(
            (each.metavar or each.name).upper() for each in command.params if each.param_type_name == "argument"
        )
        parts += [f"## `hyperflow {name}`\n", f"{_text(command.help or '')}\n"]
        parts += [f"```\nhyperflow {name} [OPTIONS] {words}".rstrip() + "\n```\n"]
        rows = [_option(each) for each in command.params]
        parts += [_table(("option", "default", "meaning"), rows)] if rows else []
    return "\n".join(parts)


def specs() -> str:
    """The values that go into an engine and come out of it."""
    import hyperflow.specs as package

    parts = [
        "# Specs\n",
        "What an engine is asked for and what it answers: frozen values of the package `hyperflow.specs`. Each refuses "
        "what cannot work when it is made. A test of a new engine begins with them.\n",
    ]
    for name in package.__all__:
        kind = getattr(package, name)
        if not dataclasses.is_dataclass(kind):
            continue
        about, meanings = _docstring(kind.__doc__ or "")
        rows = [(f"`{each.name}`", f"`{each.type}`", _default(each), _text(meanings.get(each.name, "")))
                for each in dataclasses.fields(kind)]  # fmt: skip
        parts += [f"## `{name}`\n", f"{_text(about)}\n", _table(("field", "type", "default", "meaning"), rows)]
    return "\n".join(parts)


def protocols() -> str:
    """What the predictor answers: paths, options and limits."""
    from hyperflow.serving import app, rpc, server
    from hyperflow.serving.limits import Limits

    bare: Any = object.__new__(app.App)
    bare.model_name, bare.model = "NAME", SimpleNamespace(version="VERSION")
    paths = [(f"`{' '.join(route.handlers)} {path}`", route.protocol) for path, route in bare._table().items()]
    calls = re.findall(r"\b(?:Server|Model)[A-Z]\w+(?=Re(?:quest|sponse)\b)", Path(rpc.__file__).read_text())
    about, meanings = _docstring(Limits.__doc__ or "")
    limits = [(f"`{each.name}`", f"{each.default}", meanings[each.name]) for each in dataclasses.fields(Limits)]
    options = [(f"`{each.option_strings[0]}`", _shown(each.default), str(each.help))
               for each in server._parser()._actions if each.dest != "help"]  # fmt: skip
    return "\n".join([
        "# Served protocols\n",
        "The paths and calls of the predictor. What they take, what is refused and how a rollout goes is in "
        "[Serving](../serving.md).\n",
        "## Paths\n", _table(("request", "protocol"), paths),
        "## gRPC\n", "The V2 protocol: " + ", ".join(f"`{each}`" for each in sorted({*calls})) + ".\n",
        "## Options\n", _table(("option", "default", "meaning"), options),
        "## Limits\n", f"{_text(about)}\n", _table(("limit", "default", "meaning"), limits),
    ])  # fmt: skip


def metrics() -> str:
    """What can be counted: of a trainer, of a step and of the predictor."""
    from hyperflow.serving.metrics import Metrics
    from hyperflow.serving.provenance import Expected

    schema = json.loads((ROOT / "hyperflow" / "fashion" / "arguments.json").read_text())
    steps = []
    for name in COMPONENTS:
        calls = re.findall(r'log_metric\("([^"]+)"', (ROOT / "components" / f"{name}.py").read_text())
        steps += [(f"[`{name}`](components.md#{name})", ", ".join(f"`{each}`" for each in calls))] if calls else []
    served: Any = Metrics("NAME", {})
    served.watch_queue(int, 0)
    served.describe("", "", "", Expected())
    families = [(f"`{each.name}`", each.type, each.documentation) for each in served._registry.collect()
                if each.name.startswith("hyperflow")]  # fmt: skip
    return "\n".join([
        "# Metrics\n",
        "## Of the trainer\n",
        "A trainer prints `name=value` lines. Hyperflow's own prints these:\n",
        "\n".join(f"- `{each}`" for each in schema["metrics"]) + "\n",
        "## Of the steps\n",
        "Shown as the step's metrics in the Kubeflow UI. `train` has every last value that the trainer printed, `tune` "
        "the metric that trials are compared by, `plan` those of the [drift](../retrain.md).\n",
        _table(("step", "metrics"), steps),
        "## Of the predictor\n",
        "At `GET /metrics`, in Prometheus' format, each with the label `model_name`. Counters end in `_total`.\n",
        _table(("metric", "type", "meaning"), families),
    ])  # fmt: skip


def errors() -> str:
    """Every error that the package makes, by the function that makes it."""
    parts = [
        "# Errors\n",
        "Every message of Hyperflow says what happened, why, and what to do. Its last line, `see:`, names an entry of "
        "this page: the function that made it. A word in braces stands for what the message says there. "
        "`parameter … cannot be …` is explained by [the parameter itself](parameters.md); "
        "[Troubleshooting](../troubleshooting.md) begins with what you see.\n",
    ]
    classes = _error_classes()
    module = ""
    for origin, calls in _made(classes):
        if origin.partition(".")[0] != module:
            module = origin.partition(".")[0]
            parts += [f"## `{module}`\n"]
        parts += [f"### `{origin}`\n", *(_entry(call, names) for call, names in calls), ""]
    return "\n".join(parts)


def _error_classes() -> set[str]:
    known, found = {"HyperflowError"}, {""}
    trees = [ast.parse(path.read_text()) for path in _sources()]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while found:
        found = {node.name for node in nodes if {ast.unparse(base) for base in node.bases} & known} - known
        known |= found
    return {name for name in known if not name.startswith("_")}


def _made(classes: set[str]) -> Iterator[tuple[str, list[tuple[ast.Call, dict[str, ast.expr]]]]]:
    """Give each function that makes errors, the calls that make them, and what its names were given."""
    for path in _sources():
        module = ".".join(path.relative_to(ROOT / "hyperflow").with_suffix("").parts).removesuffix(".__init__")
        if module == "errors":
            continue
        for function, node in _functions(ast.parse(path.read_text()), ""):
            calls = [each for each in ast.walk(node) if isinstance(each, ast.Call) and _name(each.func) in classes]
            if calls:
                yield f"{module}.{function}", [(call, _given(node)) for call in sorted(calls, key=lambda c: c.lineno)]


def _functions(node: ast.AST, before: str) -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{before}{child.name}.")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{before}{child.name}", child
        elif isinstance(child, ast.If | ast.Try):
            yield from _functions(child, before)


def _given(function: ast.AST) -> dict[str, ast.expr]:
    """What the names of a function stand for, where it says so once."""
    given: dict[str, ast.expr] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts, strict=False))
                given |= {name.id: value for name, value in pairs if isinstance(name, ast.Name)}
    return given


def _entry(call: ast.Call, names: Mapping[str, ast.expr]) -> str:
    kind = _name(call.func)
    fields = ("name", "value", "allowed") if kind == "InvalidParameter" else ("what", "why", "remedy")
    if kind in ("RequestError", "ApiError"):
        fields = ("status", "what", "why")
    said = {field: _words(value, names) for field, value in zip(fields, call.args, strict=False)}
    said |= {str(each.arg): _words(each.value, names) for each in call.keywords}
    if kind == "InvalidParameter":
        return (
            f"- `{kind}`: parameter {said.get('name', '…')} cannot be …\n    - remedy: give {said.get('allowed', '…')}"
        )
    lines = [f"- `{kind}`: {said.get('what', said.get('status', '…'))}"]
    lines += [f"    - cause: {said['why']}"] if said.get("why") else []
    lines += [f"    - remedy: {said['remedy']}"] if said.get("remedy") else []
    return "\n".join(lines)


def _words(node: ast.expr, names: Mapping[str, ast.expr], deep: int = 0) -> str:
    """Word an expression as a reader of messages meets it."""
    match node:
        case ast.Constant(value=str(text)):
            return _text(text)
        case ast.JoinedStr(values=values):
            return "".join(_words(each, names, 9) if isinstance(each, ast.Constant) else _gap(each) for each in values)
        case ast.Name(id=name) if name in names and deep < 2:
            return _words(names[name], names, deep + 1)
        case ast.IfExp(body=body, orelse=other):
            return ", or: ".join(text for each in (body, other) if (text := _words(each, names, deep)))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _words(left, names, deep) + _words(right, names, deep)
        case _:
            return _gap(node)


def _gap(node: ast.AST) -> str:
    value = node.value if isinstance(node, ast.FormattedValue) else node
    words = re.findall(r"[A-Za-z]\w*", re.sub(r"'[^']*'|\"[^\"]*\"", "", ast.unparse(value)))
    return f"{{{words[-1].strip('_').replace('_', ' ')}}}" if words else "…"


def _sources() -> list[Path]:
    return sorted((ROOT / "hyperflow").rglob("*.py"))


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _component(name: str) -> Any:
    """Load a component, and give its inputs and outputs a name, a kind and a meaning each."""
    made = getattr(importlib.import_module(f"components.{name}"), name)
    _, meanings = _docstring(importlib.import_module("components").described(_plain_function(made)))
    spec = made.component_spec

    def listed(entries: Mapping[str, Any] | None) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=each, kind=_kind(entry), meaning=meanings.get(each, ""))
                for each, entry in (entries or {}).items()]  # fmt: skip

    about = SimpleNamespace(
        description=_docstring(made.description or "")[0],
        inputs_list=lambda: listed(spec.inputs),
        outputs_list=lambda: listed(spec.outputs),
    )
    return SimpleNamespace(component_spec=about)


def _plain_function(made: Any) -> Any:
    return made.python_func


def _kind(entry: Any) -> str:
    kind = str(entry.type)
    return TYPES[KFP_TYPES[kind]] if kind in KFP_TYPES else kind.partition("@")[0].removeprefix("system.")


def _option(each: Any) -> tuple[str, str, str]:
    if each.param_type_name == "argument":
        return f"`{(each.metavar or each.name).upper()}`", _shown(each.default), _text(getattr(each, "help", "") or "")
    variable = f" (or `{each.envvar}`)" if each.envvar else ""
    shown = each.show_default if isinstance(each.show_default, str) else _shown(each.default)
    return f"`{each.opts[0]}`", shown, _text((each.help or "") + variable)


def _shown(value: object) -> str:
    return f"`{value}`" if value not in (None, "", False, ()) and not callable(value) else ""


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return "empty"
    return f"`{field.default!r}`" if field.default is not dataclasses.MISSING else "required"


def _docstring(text: str) -> tuple[str, dict[str, str]]:
    """Split a Google docstring into what it says and what it says of each argument and output."""
    import inspect

    about, *_ = re.split(r"\n(?=(?:Args|Returns|Raises):)", inspect.cleandoc(text))
    meanings: dict[str, str] = {}
    for section in re.findall(r"^(?:Args|Returns):\n((?: {4}.*\n?|\n(?= ))*)", inspect.cleandoc(text), re.MULTILINE):
        for name, meaning in re.findall(r"^ {4}(\w+): ((?:.*\n?)(?: {8}.*\n?)*)", section, re.MULTILINE):
            meanings[name] = " ".join(meaning.split())
    return about.strip(), meanings


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, Sequence) else str(value)


def _text(text: str) -> str:
    """Write text so that Markdown shows it as it is, outside of what stands between backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    safe = [part if part.startswith("`") else re.sub(r"([*_<>\[\]{}|])", r"\\\1", part) for part in parts]
    return re.sub(r"\n(?!\n)", " ", "".join(safe)).replace("\n ", "\n\n")


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines) + "\n"


def _cell(text: object) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(str(text).split()))


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
