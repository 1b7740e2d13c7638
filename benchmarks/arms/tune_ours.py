"""The local engine's own search: TPE, bad trials stopped early, trials forked from a warm launcher."""

from __future__ import annotations

import json
import os
import sys
import tempfile

from benchmarks.arms.spaces import SPACES
from hyperflow import volume
from hyperflow.engines.local import LocalEngine
from hyperflow.specs import Algorithm, EarlyStopping, Objective, Trainer, TuneSpec


def main() -> None:
    asked = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        os.environ[volume.ENVIRONMENT] = folder
        engine = LocalEngine(lambda *_: None)
        spec = TuneSpec(
            run_id="bench", data_path=asked["data_path"], epochs=int(asked["arguments"]["epochs"]),
            trainer=Trainer(("python", "-m", "hyperflow.fashion.train"), asked["arguments"]),
            search_space=SPACES[asked["space"]], objective=Objective(goal=asked["target"]),
            algorithm=Algorithm("tpe", {"random_state": asked["seed"]}), max_trials=asked["trials"],
            parallel_trials=asked["parallel"], early_stopping=EarlyStopping(5, 2),
        )  # fmt: skip
        with engine.launcher():
            result = engine.tune(spec)
    print(json.dumps({"best": result.best.value, "trials": len(result.trials)}))


if __name__ == "__main__":
    main()
