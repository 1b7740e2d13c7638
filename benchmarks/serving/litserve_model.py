"""LitServe with an ONNX model and one worker, in the environment of the peers.

    litserve_model.py --model FILE --http_port PORT

The worker is a process that imports this file again, so its class has to stand here.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import litserve
import numpy
import onnxruntime

MODEL = "HYPERFLOW_BENCH_MODEL"


class Onnx(litserve.LitAPI):  # type: ignore[misc]
    """One image a request, in LitServe's own form."""

    def setup(self, device: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ[MODEL], options)
        self.input = self.session.get_inputs()[0].name

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # annotated, it would be a schema
        return numpy.asarray([request["flatten_input"]], "float32")

    def predict(self, x: Any, **_: Any) -> Any:
        return self.session.run(None, {self.input: x})[0]

    def encode_response(self, output: Any, **_: Any) -> Any:
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--http_port", type=int, required=True)
    asked, _ = parser.parse_known_args()
    os.environ[MODEL] = asked.model
    server = litserve.LitServer(Onnx(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=asked.http_port, generate_client_file=False, log_level="warning")
