"""Metric lines, as trainers print them and Katib reads them."""

from __future__ import annotations

import pytest

from hyperflow import metrics


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("epoch=1 loss=0.25", {"epoch": 1, "loss": 0.25}),
        ("loss = -1.5e-3, accuracy=+.5", {"loss": -0.0015, "accuracy": 0.5}),
        ("validation-accuracy=0.9|x", {"validation-accuracy": 0.9}),
        ("loss=nan", {}),
        ("loss: 0.3", {}),
        ("val/loss=0.3", {"loss": 0.3}),
        ("", {}),
    ],
)
def test_metric_lines_read_as_katib_reads_them(line: str, seen: dict[str, float]) -> None:
    assert metrics.parse_line(line) == seen


_PORT = "oneDNN custom operations are on. To turn them off, set the environment variable `TF_ENABLE_ONEDNN_OPTS=0`."


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        (f"I0000 00:00:1795633712.917311    8902 port.cc:153] {_PORT}", {}),
        (f"2026-11-25 19:08:32.917311: I tensorflow/core/util/port.cc:153] {_PORT}", {}),
        ("W0000 00:00:1795633712.917311    8902 gpu_device.cu.cc:2022] memory=3", {}),
        ("INFO:root:loss=0.5", {"loss": 0.5}),
        ("INFO:tensorflow:loss = 0.5, step = 100", {"loss": 0.5, "step": 100}),
        ("I1125 19:08:32.917311 140 train.py:20] loss=0.5", {"loss": 0.5}),
        ("2026-11-25T19:08:32Z loss=0.5", {"loss": 0.5}),
        ("2026-11-25 19:08:32.917311: I think that loss=0.5", {"loss": 0.5}),
    ],
)
def test_what_tensorflow_logs_by_itself_is_no_metric_and_what_a_trainer_logs_is(
    line: str, seen: dict[str, float]
) -> None:
    assert metrics.parse_line(line) == seen


def test_curve_is_one_value_an_epoch_whatever_the_attempts() -> None:
    first = ["epoch=1 loss=0.9", "epoch=2 loss=0.8", "epoch=3 loss=0.7"]
    second = ["epoch=2 loss=0.75", "validation-accuracy=0.5", "epoch=3 loss=0.65", "test-accuracy=0.6"]
    assert metrics.curve([*first, *second]) == {
        "epoch": [1, 2, 3], "loss": [0.9, 0.75, 0.65], "validation-accuracy": [0.5], "test-accuracy": [0.6],
    }  # fmt: skip


def test_curve_without_epochs_is_all_that_was_printed() -> None:
    assert metrics.curve(["loss=0.9", "loss=0.8"]) == {"loss": [0.9, 0.8]}
