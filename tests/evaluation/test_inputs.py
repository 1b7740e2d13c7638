"""Drift of what users send: what is read of a real payload log, and what is found in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from hyperflow.errors import DataError
from hyperflow.evaluation import inputs, logged
from tests.serving import models
from tests.serving.predictor import NAME, Predictor

PIXELS = 784


def _draw(seed: int, count: int) -> NDArray[Any]:
    """Dark pictures with a bright square whose place and brightness differ."""
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 30, (count, 28, 28))
    for picture in pictures:
        row, column = rng.integers(4, 14, 2)
        picture[row : row + 10, column : column + 10] = rng.integers(120, 256)
    return pictures.astype(np.uint8)


def _v2(pictures: NDArray[Any], **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "flatten_input", "shape": [len(pictures), PIXELS], "datatype": "UINT8", **more}]}


def test_the_same_distribution_seldom_drifts() -> None:
    reference = _draw(1000, 2000)
    found = [inputs.measure(_draw(seed, 300), reference) for seed in range(20)]
    assert sum(each.p_value < 0.01 for each in found) <= 1


@pytest.mark.parametrize("change", ["inverted", "noisy"])
def test_changed_pictures_drift(change: str) -> None:
    sent = _draw(1, 200).astype(np.float64)
    noise = np.random.default_rng(2).normal(60, 60, sent.shape)
    sent = 255 - sent if change == "inverted" else np.clip(sent + noise, 0, 255)
    found = inputs.measure(sent, _draw(1000, 2000))
    assert found.p_value < 1e-6
    assert found.mean_shift > 20


@pytest.mark.parametrize(("count", "threshold", "over"), [(100, 0.01, False), (2000, 0.5, False), (100, 0.25, True)])
def test_a_threshold_is_exceeded_by_a_difference_and_by_no_chance(count: int, threshold: float, over: bool) -> None:
    sent = _draw(1, count) if threshold < 0.1 else (_draw(1, count) * (0.2 if over else 0.9))
    found = inputs.measure(sent, _draw(1000, 2000))
    assert found.statistic > 0.01
    assert found.exceeds(threshold) == over
    assert not found.exceeds(0)
    assert sum(found.observed) == pytest.approx(1)
    assert sum(found.expected) == pytest.approx(1)


def test_too_few_say_nothing() -> None:
    with pytest.raises(DataError, match="99 pictures are too few"):
        inputs.measure(_draw(0, inputs.LEAST_INPUTS - 1), _draw(1, 500))


@pytest.mark.parametrize("inverted", [False, True])
def test_what_a_real_predictor_logged_is_judged(tmp_path: Path, inverted: bool) -> None:
    folder, kept = models.save(models.Network(), tmp_path / "model", onnx_copy=True), tmp_path / "kept"
    sent = 255 - _draw(5, 200) if inverted else _draw(5, 200)
    (tmp_path / "p").mkdir()
    running = Predictor(tmp_path / "p", folder, f"--log_payloads={kept}")
    try:
        for part in sent.reshape(4, 50, PIXELS):
            v1 = {"instances": [{"flatten_input": each.tolist()} for each in part[:25]]}
            head = json.dumps(_v2(part[25:], parameters={"binary_data_size": 25 * PIXELS})).encode()
            length = {"inference-header-content-length": str(len(head))}
            url = f"{running.url}/v1/models/{NAME}:predict"
            httpx.post(url, json=v1).raise_for_status()
            url = f"{running.url}/v2/models/{NAME}/infer"
            httpx.post(url, content=head + part[25:].tobytes(), headers=length).raise_for_status()
    finally:
        assert running.stop() == 0, running.log
    assert (logged.newest(kept, PIXELS, 200)[::-1] == sent.reshape(200, PIXELS)).all()
    found = inputs.look(kept, _draw(1000, 2000))
    assert (found.p_value < 1e-6) == inverted
