"""Serve the demo page: `python -m hyperflow.demo`; each option can be set in the environment."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence

from hyperflow.demo.server import main
from hyperflow.errors import HyperflowError, InvalidParameter
from hyperflow.specs import ModelRef


def run(argv: Sequence[str]) -> int:
    """Serve the page as the command line and the environment say; return the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    options = _parser().parse_args(argv)
    try:
        model = parse_model(options.model)
        main(
            options.url, options.name, options.port, host=options.host, dataset=options.dataset,
            source=options.source, model=lambda: model,
        )  # fmt: skip
    except HyperflowError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def parse_model(text: str) -> ModelRef | None:
    """Read what the operator states of the model, in the form of the service's annotation `hyperflow.dev/model`.

    Raises:
        InvalidParameter: It has another form.
    """
    if not text.strip():
        return None
    try:
        fields = json.loads(text)
        return ModelRef(str(fields["path"]), str(fields.get("runId", "")), float(fields.get("accuracy", 0)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        allowed = '{"path": "/…", "runId": "…", "accuracy": 0.9}, as in the annotation hyperflow.dev/model'
        raise InvalidParameter("model", text, allowed) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hyperflow.demo", description="Serve a page to try a model.")
    settings = {
        "url": ("HYPERFLOW_PREDICTOR_URL", "", "base URL of the predictor"),
        "name": ("HYPERFLOW_MODEL_NAME", "fashion-mnist", "the model's name"),
        "host": ("HYPERFLOW_DEMO_HOST", "127.0.0.1", "address to listen on"),
        "port": ("HYPERFLOW_DEMO_PORT", "7860", "port to listen on; 0 for any free one"),
        "dataset": ("HYPERFLOW_DATASET", "fashion-mnist", "the data set whose test images can be picked"),
        "source": ("HYPERFLOW_DATA_SOURCE", "", "where to load it from if the volume has none"),
        "model": ("HYPERFLOW_MODEL", "", "what is served, as JSON: path, runId, accuracy"),
    }
    for name, (variable, default, meaning) in settings.items():
        kind = int if name == "port" else str
        default = os.environ.get(variable) or default
        parser.add_argument(f"--{name}", type=kind, default=default, help=f"{meaning} ({variable})")
    return parser


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
