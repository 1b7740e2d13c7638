"""Compare ways to execute a SavedModel: time of a call by batch size, time to prepare, and distance from TensorFlow.

Run on one core, as `taskset -c 0 python benchmarks/serving/paths.py DIR/1`. ONNX Runtime and LiteRT take part
where onnxruntime with tf2onnx, or ai-edge-litert, are installed; the server itself needs neither.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

BATCHES = (1, 4, 8, 16, 64)
Run = Callable[[np.ndarray], np.ndarray]


def signature(path: str) -> Run:
    """The SavedModel's signature as TensorFlow loads it."""
    loaded = tf.saved_model.load(path)
    function = loaded.signatures["serving_default"]
    function.owner = loaded
    ((name, _),) = function.structured_input_signature[1].items()
    return lambda batch: next(iter(function(**{name: tf.constant(batch)}).values())).numpy()


def frozen(path: str) -> Run:
    """The same with its variables made constants, so that TensorFlow's graph optimiser sees them."""
    loaded = tf.saved_model.load(path)
    function = convert_variables_to_constants_v2(loaded.signatures["serving_default"])
    return lambda batch: function(tf.constant(batch))[0].numpy()


def xla(path: str) -> Run:
    """The same compiled by XLA, for one shape a time."""
    loaded = tf.saved_model.load(path)
    function = loaded.signatures["serving_default"]
    ((name, _),) = function.structured_input_signature[1].items()
    compiled = tf.function(lambda batch: function(**{name: batch}), jit_compile=True)
    compiled.owner = loaded
    return lambda batch: next(iter(compiled(tf.constant(batch)).values())).numpy()


def onnx(path: str) -> Run:
    """ONNX Runtime, converted by tf2onnx."""
    import onnxruntime
    from tf2onnx import tf_loader, tfonnx

    with tempfile.TemporaryDirectory() as folder:
        graph, inputs, outputs = tf_loader.from_saved_model(path, None, None)
        with tf.Graph().as_default() as tf_graph:
            tf.import_graph_def(graph, name="")
            converted = tfonnx.process_tf_graph(tf_graph, opset=17, input_names=inputs, output_names=outputs)
        file = Path(folder, "model.onnx")
        file.write_bytes(converted.make_model("model").SerializeToString())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(file), options)
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]


def litert(path: str) -> Run:
    """LiteRT with XNNPACK, converted by TensorFlow."""
    from ai_edge_litert.interpreter import Interpreter

    model = tf.lite.TFLiteConverter.from_saved_model(path).convert()
    runners: dict[int, Any] = {}

    def run(batch: np.ndarray) -> np.ndarray:
        if len(batch) not in runners:
            interpreter = Interpreter(model_content=model, num_threads=1)
            index = interpreter.get_input_details()[0]["index"]
            interpreter.resize_tensor_input(index, batch.shape)
            interpreter.allocate_tensors()
            runners[len(batch)] = interpreter, index, interpreter.get_output_details()[0]["index"]
        interpreter, index, output = runners[len(batch)]
        interpreter.set_tensor(index, batch)
        interpreter.invoke()
        return interpreter.get_tensor(output)

    return run


def microseconds(run: Run, batch: np.ndarray) -> float:
    """Time a call: the tenth percentile of many, as other work on the machine only ever adds."""
    times = []
    for _ in range(300):
        start = time.perf_counter()
        run(batch)
        times.append(time.perf_counter() - start)
    return statistics.quantiles(times[20:], n=10)[0] * 1e6


def main(path: str) -> None:
    """Print one line a path."""
    images = np.random.default_rng(0).integers(0, 256, (max(BATCHES), 784)).astype(np.float32)
    reference = signature(path)(images)
    sizes = " ".join(f"{f'{size} rows':>9}" for size in BATCHES)
    print(f"{'path':10} {'ready s':>8} {'max diff':>9} {sizes}  (µs a call)")
    for make in (signature, frozen, xla, onnx, litert):
        start = time.perf_counter()
        try:
            run = make(path)
        except ImportError as error:
            print(f"{make.__name__:10} not installed: {error.name}")
            continue
        difference = float(abs(run(images) - reference).max())
        ready = time.perf_counter() - start
        calls = " ".join(f"{microseconds(run, images[:size]):9.0f}" for size in BATCHES)
        print(f"{make.__name__:10} {ready:8.2f} {difference:9.1e} {calls}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
