"""Optuna in one process: its own defaults (TPE, median pruner), the trainer's functions, the data read once."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import optuna

from benchmarks.arms.asked import arguments_of
from benchmarks.arms.ours_fit import accuracy, learner_of, prepared
from benchmarks.arms.spaces import SPACES, ask_optuna


def main() -> None:
    asked = json.loads(sys.argv[1])
    optuna.logging.disable_default_handler()
    images, validation, _, classes = prepared(arguments_of(asked))
    best = 0.0

    def objective(trial: optuna.Trial) -> float:
        nonlocal best
        values: dict[str, Any] = {**asked["arguments"], **ask_optuna(trial, SPACES[asked["space"]])}
        arguments = arguments_of({**asked, "arguments": values})
        learner, reached = learner_of(arguments, images, classes), [0.0]
        for number in range(arguments.epochs):
            loss, _ = learner.epoch(number)
            reached.append(accuracy(learner, validation) if np.isfinite(loss) else 0.0)
            best = max(best, reached[-1])
            if best >= asked["target"]:
                trial.study.stop()
                break
            trial.report(reached[-1], number)
            if trial.should_prune():
                raise optuna.TrialPruned
        return max(reached)

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=asked["seed"]))
    study.optimize(objective, n_trials=asked["trials"])
    print(json.dumps({"best": best, "trials": len(study.trials)}))


if __name__ == "__main__":
    main()
