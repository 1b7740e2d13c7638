"""The search spaces that every arm has, and how Optuna and KerasTuner are told of them."""

from __future__ import annotations

from typing import Any

from hyperflow.specs import Dimension

TWO = (
    Dimension("learning_rate", "double", 0.0005, 0.05, distribution="logUniform"),
    Dimension("dropout_rate", "double", 0.0, 0.6),
)
SIX = (
    *TWO,
    Dimension("weight_decay", "double", 0.001, 0.2, distribution="logUniform"),
    Dimension("batch_size", "discrete", values=(64, 128, 256)),
    Dimension("model", "categorical", values=("cnn", "mlp")),
    Dimension("epochs", "int", 2, 4),
)
SPACES = {"two": TWO, "six": SIX}


def ask_optuna(trial: Any, space: tuple[Dimension, ...]) -> dict[str, Any]:
    """Draw values by an Optuna trial."""
    return {one.name: _ask(trial.suggest_float, trial.suggest_int, trial.suggest_categorical, one) for one in space}


def _ask(double: Any, whole: Any, choice: Any, one: Dimension) -> Any:
    if one.type == "double":
        return double(one.name, one.min, one.max, log=one.distribution == "logUniform")
    return whole(one.name, int(one.min), int(one.max)) if one.type == "int" else choice(one.name, one.values)


def ask_keras(hp: Any, space: tuple[Dimension, ...]) -> dict[str, Any]:
    """Draw values by KerasTuner's hyper-parameters."""
    values = {}
    for one in space:
        if one.type == "double":
            way = "log" if one.distribution == "logUniform" else "linear"
            values[one.name] = hp.Float(one.name, one.min, one.max, sampling=way)
        elif one.type == "int":
            values[one.name] = hp.Int(one.name, int(one.min), int(one.max))
        else:
            values[one.name] = hp.Choice(one.name, list(one.values))
    return values
