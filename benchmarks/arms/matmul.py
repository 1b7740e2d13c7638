"""The most floating-point operations a second that `tf.matmul` reaches here, for square matrices of some sizes."""

from __future__ import annotations

import json
import sys
import time

import tensorflow as tf


def best(precision: str, seconds: float, size: int) -> float:
    """Return operations a second: the fastest of the calls that fit in the time."""
    matrix = tf.cast(tf.random.normal((size, size)), precision)
    multiply = tf.function(tf.matmul)
    multiply(matrix, matrix).numpy()
    shortest, end = float("inf"), time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        multiply(matrix, matrix).numpy()
        shortest = min(shortest, time.perf_counter() - began)
    return 2 * size**3 / shortest


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    for kind in asked["precisions"]:
        rates = {size: best(kind, asked["seconds"], size) for size in (1024, 2048, 4096)}
        size = max(rates, key=rates.__getitem__)
        print(json.dumps({"precision": kind, "flops": rates[size], "size": size}), flush=True)
