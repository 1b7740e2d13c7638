"""The trainer's command line."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from hyperflow.errors import InvalidParameter, one_of
from hyperflow.fashion.recipes import RECIPES
from hyperflow.specs import Description
from hyperflow.specs.description import allowed

SCHEMA = Path(__file__).with_name("arguments.json").read_text(encoding="utf-8")
"""What `--describe` prints."""

DESCRIPTION = Description.parse(SCHEMA)
MODELS = tuple(DESCRIPTION.arguments["model"]["enum"])


@dataclass(frozen=True)
class Arguments:
    """What to train, on what, and how; the defaults are those of the model `cnn`.

    Args:
        data_path: Folder of a verified data set.
        preset: One of `DESCRIPTION.presets`; its values hold where no others are given.
        epochs: Passes over the training images.
        learning_rate: Peak of the warmed-up, cosine-decayed rate.
        dropout_rate: Share of features dropped.
        batch_size: Images a step, all workers together.
        weight_decay: AdamW's.
        model: One of `MODELS`.
        precision: Of the convolutions: `float32`, `bfloat16`, or `auto` for bfloat16 where the processor has it.
        views: Of an image, over which an answer is averaged: the first is the image, the others are moved by a pixel.
        seed: Decides the split, the order, the first weights, dropout, mirroring and shifts.
        validation_fraction: Share of the training images kept to validate with.
        train_fraction: Share of the others to learn from.
        model_path: Where to save the SavedModel; empty for a trial, which saves none.

    Raises:
        InvalidParameter: A value cannot work.
    """

    data_path: str
    preset: str = "default"
    epochs: int = 16
    learning_rate: float = 0.005
    dropout_rate: float = 0.3
    batch_size: int = 128
    weight_decay: float = 0.05
    model: str = "cnn"
    precision: str = "auto"
    views: int = 1
    seed: int = 0
    validation_fraction: float = 0.05
    train_fraction: float = 1.0
    model_path: str = ""

    def __post_init__(self) -> None:
        if not self.data_path:
            raise InvalidParameter("data-path", self.data_path, "the folder of a data set")
        for name in DESCRIPTION.arguments:
            DESCRIPTION.judge(name, name, getattr(self, name))
        if self.model_path and not re.fullmatch(r"/.*/[1-9][0-9]*", self.model_path):
            raise InvalidParameter("model-path", self.model_path, "an absolute path that ends in a version number")

    @classmethod
    def parse(cls, argv: Sequence[str]) -> Arguments:
        """Read `--name=value` and `--name value`; `-` and `_` in a name are the same.

        Raises:
            InvalidParameter: A parameter is unknown, or its value cannot work.
        """
        kinds = {field.name: str(field.type) for field in fields(cls)}
        values: dict[str, int | float | str] = {}
        for word, text in _pairs(argv):
            name = word.removeprefix("--").replace("-", "_")
            if not word.startswith("--") or name not in kinds:
                raise InvalidParameter(word, text, f"only parameters that exist: {one_of(kinds)}")
            values[name] = _convert(word.removeprefix("--"), text, kinds[name])
        if "data_path" not in values:
            raise InvalidParameter("data-path", "", "the folder of a data set")
        preset = DESCRIPTION.presets.get(str(values.get("preset", cls.preset)), {})
        recipe = RECIPES.get(str({"model": cls.model, **preset, **values}["model"]), RECIPES[cls.model])
        return cls(**{**recipe.arguments, **preset, **values})

    def fingerprint(self, data_digest: str, version: str) -> str:
        """Identify what is trained: the same for every place it is read from or saved to."""
        what = {**asdict(self), "data_path": data_digest, "model_path": "", "version": version}
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]

    def lineage(self, data_digest: str, version: str) -> str:
        """Identify what is trained, for however many epochs."""
        return replace(self, epochs=1).fingerprint(data_digest, version)


def usage() -> str:
    """Return what `--help` prints."""
    lines = ["usage: python -m hyperflow.fashion.train --data-path DIR [--NAME VALUE …]", ""]
    lines += ["  --data-path DIR", "      Folder of a verified data set."]
    for name, entry in DESCRIPTION.arguments.items():
        lines += [f"  --{name} (default {entry['default']})", f"      {entry['description']} It is {allowed(entry)}."]
    lines += ["  --model-path DIR/1", "      Where to save the SavedModel; a trial, which saves none, gets none."]
    lines += ["  --describe", "      Print a JSON schema of these, and end.", ""]
    return "\n".join([*lines, f"Each epoch it prints {', '.join(DESCRIPTION.metrics)} as name=value."])


def _pairs(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    words = iter(argv)
    for word in words:
        name, equals, text = word.partition("=")
        yield name, text if equals else next(words, "")


def _convert(name: str, text: str, kind: str) -> int | float | str:
    if kind == "str":
        return text
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidParameter(name, text, "a finite number")
    if kind == "float":
        return number
    if not number.is_integer():
        raise InvalidParameter(name, text, "a whole number")
    return int(number)
