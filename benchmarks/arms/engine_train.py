"""A whole training by the local engine, with one or more worker processes."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.arms.asked import arguments_of
from hyperflow import volume
from hyperflow.engines.local import LocalEngine
from hyperflow.specs import Trainer, TrainSpec


def main() -> None:
    asked = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        os.environ[volume.ENVIRONMENT] = folder
        trainer = Trainer(("python", "-m", "hyperflow.fashion.train"), asked["arguments"])
        engine = LocalEngine(lambda *_: None)
        with engine.launcher():
            began = time.monotonic()
            spec = TrainSpec(
                run_id="bench", data_path=asked["data_path"], trainer=trainer, workers=asked["workers"],
                epochs=arguments_of(asked).epochs, model_path=str(Path(folder) / "model" / "1"),
            )  # fmt: skip
            result = engine.train(spec)
            seconds = time.monotonic() - began
    print(json.dumps({"seconds": seconds, "test_accuracy": result.metrics["test-accuracy"]}))


if __name__ == "__main__":
    main()
