"""A step as a process of its own, to be killed: `python -m tests.cluster.step tune|train RUN_ID PAUSE EXIT_CODE BY`.

It says `ready` when it has imported everything, and at the end what came of it and what that took, as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import cast

from hyperflow.engines.kubeflow import KubeflowEngine
from hyperflow.errors import HyperflowError
from hyperflow.specs import TrainSpec, TuneSpec
from hyperflow.specs.job import Backend
from hyperflow.volume import MOUNT_PATH
from tests.kubeflow.specs import trainer, training, tuning


def tune_spec(run_id: str, pause: float, fail: int = 0, by: Backend = "tfjob") -> TuneSpec:
    """Search with four trials of three epochs, or with trials that fail; by Katib where there are TFJobs."""
    tuner = "katib" if by == "tfjob" else "job"
    return tuning(run_id=run_id, trainer=trainer(pause=pause, fail=fail), epochs=3, timeout=240, tuner=tuner)


def train_spec(run_id: str, pause: float, fail: int = 0, by: Backend = "tfjob") -> TrainSpec:
    """Train three epochs, or fail at once."""
    path = f"{MOUNT_PATH}/models/line/{run_id}/1"
    return training(run_id=run_id, trainer=trainer(pause=pause, fail=fail), model_path=path, training_backend=by)


def main(verb: str, run_id: str, pause: float, fail: int, by: Backend = "tfjob") -> int:
    """Run one verb of the engine; exit as a step does."""
    from hyperflow.engines.kubeflow.manifests import experiment, tfjob

    engine = KubeflowEngine()
    tune, train = tune_spec(run_id, pause, fail, by), train_spec(run_id, pause, fail, by)
    experiment(tune), tfjob(train)  # the SDKs are imported at first use
    print("ready", flush=True)
    try:
        result = {"best": engine.tune(tune).best.value} if verb == "tune" else dict(engine.train(train).metrics)
    except HyperflowError as error:
        print(error, flush=True)
        return error.exit_code
    print(json.dumps({**result, "memory": _peak_memory()}), flush=True)
    return 0


def _peak_memory() -> int:
    """Return the most bytes this process has held; what getrusage says would be its parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), *cast(list[Backend], sys.argv[5:])))
