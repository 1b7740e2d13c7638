"""What a trainer is started with."""

from __future__ import annotations

from hyperflow.specs import Trainer


def test_argv_is_the_contract() -> None:
    trainer = Trainer(("python", "train.py"), {"model": "cnn", "epochs": "9"})
    assert trainer.argv("/d", {"learning_rate": 0.01}, 3, "/m/1") == [
        "python", "train.py", "--data-path=/d", "--epochs=9", "--model=cnn", "--learning_rate=0.01",
        "--model-path=/m/1",
    ]  # fmt: skip
