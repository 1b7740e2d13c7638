"""Compile every pipeline and component to YAML: `python compile.py`, or `--check` to see whether build/ is current."""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

BUILD = Path(__file__).parent / "build"
OWN = BUILD / "own"
"""Where pipelines with a user's own images go, which git does not track."""
PIPELINES = ("train_and_serve", "retrain")
KFP_VERSIONS = ("2.5", "2.14", "2.15", "2.16", "2.17")
DUMP_ALL = yaml.dump_all  # KFP's compiler is given another
COMPONENTS = ("check", "load_data", "plan", "tune", "train", "decide", "deploy", "predict")


def main() -> int:
    """Compile, or compare; return 1 where build/ is not what the source says."""
    arguments = _arguments()
    if arguments.output is None:
        changed = arguments.image or arguments.model_image or arguments.kfp
        arguments.output = OWN if changed and not arguments.check else BUILD
    given = {
        "HYPERFLOW_IMAGE": arguments.image,
        "HYPERFLOW_MODEL_IMAGE": arguments.model_image,
        "HYPERFLOW_KFP": arguments.kfp,
    }
    os.environ.update({variable: value for variable, value in given.items() if value})
    if not arguments.check:
        for path in compile_all(arguments.output):
            print(path)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        drifted = _compare(compile_all(Path(folder)), arguments.output)
    for line in drifted:
        print(line, file=sys.stderr)
    print("build/ differs from the source: run `python compile.py`" if drifted else "build/ is current")
    return 1 if drifted else 0


def compile_all(output: Path) -> list[Path]:
    """Write all pipelines, and the components in a folder beside them; return the files."""
    import importlib

    from kfp.compiler import compiler

    compiler.builder.yaml.dump_all = _dump_all
    files = []
    for package, names, folder in (("pipelines", PIPELINES, output), ("components", COMPONENTS, output / "components")):
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            made = getattr(importlib.import_module(f"{package}.{name}"), name)
            files.append(folder / f"{name}.yaml")
            compiler.Compiler().compile(made, str(files[-1]))
            files[-1].write_text(_settle(files[-1].read_text()))
    return files


def _dump_all(documents: list[Any], stream: Any = None, **options: Any) -> Any:
    """Write YAML; libyaml's emitter writes the same as Python's in a tenth of the time."""
    for document in documents:
        for component in document.get("components", {}).values():
            _drop_descriptions(component)
    return DUMP_ALL(documents, stream, Dumper=getattr(yaml, "CDumper", yaml.Dumper), **options)


def _drop_descriptions(component: dict[str, Any]) -> None:
    """Leave descriptions to the root, where KFP shows them: each pod's description repeats those of its component."""
    for side in ("inputDefinitions", "outputDefinitions"):
        for entry in component.get(side, {}).get("parameters", {}).values():
            entry.pop("description", None)


def _settle(text: str) -> str:
    """Order the objects in KFP's heading comment, which come out differently at every compilation."""

    def ordered(match: re.Match[str]) -> str:
        return f"{match[1]}{json.dumps(ast.literal_eval(match[2]), sort_keys=True)}]"

    return re.sub(r"^(#    \w+: (?:dict|list) \[Default: )(.*)\]$", ordered, text, flags=re.MULTILINE)


def _compare(fresh: list[Path], build: Path) -> list[str]:
    root = fresh[0].parent
    drifted = []
    for path in fresh:
        committed = build / path.relative_to(root)
        if not committed.exists():
            drifted.append(f"{committed} is missing")
        elif committed.read_bytes() != path.read_bytes():
            drifted.append(f"{committed} is not what the source compiles to")
    return drifted


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", help="image of the steps, best with a digest (or HYPERFLOW_IMAGE)")
    parser.add_argument("--model-image", help="image of trainer and predictor (or HYPERFLOW_MODEL_IMAGE)")
    parser.add_argument(
        "--kfp",
        choices=KFP_VERSIONS,
        help="oldest KFP server to take the YAML; from 2.16 on steps state their user, from 2.17 on a run stays a week",
    )
    parser.add_argument(
        "--output", type=Path, help="folder to write to or compare with; by default build/, or build/own/ with images"
    )
    parser.add_argument("--check", action="store_true", help="compare instead of writing; exit 1 on a difference")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
