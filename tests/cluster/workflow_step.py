"""The step of a Workflow: `python -m tests.cluster.workflow_step tune|train RUN_ID PAUSE CRASH`.

It says on the volume when it was started and stopped, and where CRASH is a signal's number, its first attempt dies of
that signal as soon as its job is there.
"""

from __future__ import annotations

import os
import sys
import time

from hyperflow import volume
from hyperflow.engines.kubeflow import KubeflowEngine
from hyperflow.engines.kubeflow.resources import EXPERIMENT, TFJOB
from hyperflow.engines.kubeflow.watch import Watch
from hyperflow.steps import begin
from tests.cluster.step import train_spec, tune_spec


def main(verb: str, run_id: str, pause: float, crash: int) -> None:
    """Run one verb of the engine as a step does."""
    attempts = volume.run_path(run_id) / "attempts"
    attempts.parent.mkdir(parents=True, exist_ok=True)
    with attempts.open("a") as file:
        file.write(f"{os.environ['KFP_POD_NAME']}\n")
    is_first = len(attempts.read_text().splitlines()) == 1
    with begin(verb, run_id):
        engine = KubeflowEngine()
        if crash and is_first:
            _crash_once_there(engine, verb, run_id, crash)
        if verb == "tune":
            print(engine.tune(tune_spec(run_id, pause)).best.value)
        else:
            print(engine.train(train_spec(run_id, pause)).metrics)


def _crash_once_there(engine: KubeflowEngine, verb: str, run_id: str, number: int) -> None:
    resource = EXPERIMENT if verb == "tune" else TFJOB
    if os.fork() == 0:
        for _ in Watch(engine.cluster, resource, fieldSelector=f"metadata.name={verb}-{run_id}"):
            time.sleep(1)
            os.kill(os.getppid(), number)
            os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
