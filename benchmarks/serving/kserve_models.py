"""The two servers to compare with, on KServe's own model server: one returns a constant, one calls the SavedModel.

    python kserve_models.py constant|naive --model_name NAME --model_dir DIR --http_port PORT …

KServe reads the command line when it is imported; it passes over what it does not know.
"""

from __future__ import annotations

import argparse
from typing import Any

import kserve


class Constant(kserve.Model):
    """The floor: KServe's server with no model behind it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ready = True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> dict[str, Any]:
        """Return zeros."""
        return {"predictions": [[0.0] * 10 for _ in payload["instances"]]}


class Naive(kserve.Model):
    """What one writes first: the signature called on every request."""

    def __init__(self, name: str, folder: str) -> None:
        import tensorflow as tf

        super().__init__(name)
        self._loaded = tf.saved_model.load(f"{folder}/1")
        self._tensor = tf.constant
        self.ready = True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> dict[str, Any]:
        """Call the model."""
        images = [instance["flatten_input"] for instance in payload["instances"]]
        answer = self._loaded.signatures["serving_default"](flatten_input=self._tensor(images, "float32"))
        return {"predictions": answer["probabilities"].numpy().tolist()}


def main() -> None:
    """Serve the one asked for."""
    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
    parser.add_argument("kind", choices=("constant", "naive"))
    parser.add_argument("--model_dir", required=True)
    arguments = parser.parse_args()
    name = arguments.model_name
    model = Constant(name) if arguments.kind == "constant" else Naive(name, arguments.model_dir)
    kserve.ModelServer(http_port=arguments.http_port, enable_grpc=False).start([model])


if __name__ == "__main__":
    main()
