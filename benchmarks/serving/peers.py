"""MLServer and LitServe with the same ONNX model, from PyPI into an environment of their own (their pins are not ours).

    python peers.py --model FILE --http_port PORT …

As a script it runs there, where nothing of Hyperflow is installed, and becomes MLServer.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

REQUIREMENTS = ("mlserver==1.7.1", "litserve==0.2.19", "onnxruntime")
PATHS = {
    "MLServer": ("/v2/models/fashion/ready", "/v2/models/fashion/infer"),
    "LitServe": ("/health", "/predict"),
}
RUNTIME = """
import numpy, onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Onnx(MLModel):
    async def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.settings.parameters.uri, options)
        self.input = self.session.get_inputs()[0].name
        return True

    async def predict(self, payload):
        images = NumpyCodec.decode_input(payload.inputs[0]).astype("float32")
        answer = self.session.run(None, {self.input: images})[0]
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("probabilities", answer)])
"""


def commands(folder: Path, model: Path) -> dict[str, list[str]]:
    """Install the peers into an environment in `folder` unless it is there, and return how they are started.

    Where they cannot be installed, there are none, and it is said.
    """
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        venv.create(folder, with_pip=True, clear=True)
        done = subprocess.run(
            [python, "-m", "pip", "install", "--quiet", *REQUIREMENTS], capture_output=True, text=True
        )
        if done.returncode:
            print(f"MLServer and LitServe cannot be installed: {done.stderr[-500:]}", file=sys.stderr)
            return {}
        (folder / "installed").touch()
    programs = {"MLServer": __file__, "LitServe": str(Path(__file__).with_name("litserve_model.py"))}
    return {kind: [str(python), program, "--model", str(model)] for kind, program in programs.items()}


def mlserver(model: str, port: int) -> None:
    """Become MLServer, with one process, its parallel workers off, and the other ports beside."""
    folder = Path(tempfile.mkdtemp())
    (folder / "onnx_runtime.py").write_text(RUNTIME)
    settings = {"name": "fashion", "implementation": "onnx_runtime.Onnx", "parameters": {"uri": model}}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    server = {"http_port": port, "grpc_port": port + 100, "metrics_port": port + 200, "parallel_workers": 0}
    (folder / "settings.json").write_text(json.dumps({**server, "host": "127.0.0.1", "debug": False}))
    os.environ["PYTHONPATH"] = str(folder)
    program = Path(sys.executable).with_name("mlserver")
    os.execv(program, [str(program), "start", str(folder)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--http_port", type=int, required=True)
    asked, _ = parser.parse_known_args()
    mlserver(asked.model, asked.http_port)
