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
from hyperflow.evaluation import inputs
from hyperflow.serving.payloads import REQUEST, RESPONSE, Event, Folder
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


def _log(folder: Path, body: bytes, content_type: str = "application/json", kind: str = REQUEST) -> None:
    assert Folder(folder, 2**26).write(Event({"id": "1", "type": kind}, content_type, body))


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


def test_too_few_say_nothing() -> None:
    with pytest.raises(DataError, match="99 pictures are too few"):
        inputs.measure(_draw(0, inputs.LEAST_INPUTS - 1), _draw(1, 500))


def test_every_form_of_request_is_read(tmp_path: Path) -> None:
    pictures = _draw(0, 3).reshape(3, PIXELS)
    header = json.dumps(_v2(pictures, parameters={"binary_data_size": pictures.nbytes})).encode()
    v1 = {"instances": [{"flatten_input": each.tolist()} for each in pictures]}
    bodies = [
        (json.dumps(v1).encode(), "application/json"),
        (json.dumps(v1).encode(), "application/x-www-form-urlencoded"),
        (json.dumps({"instances": pictures.reshape(3, 28, 28).tolist()}).encode(), "application/json"),
        (json.dumps({"inputs": {"flatten_input": pictures.tolist()}}).encode(), "application/json"),
        (json.dumps(_v2(pictures, data=pictures.ravel().tolist())).encode(), "application/json"),
        (header + pictures.tobytes(), "application/octet-stream"),
    ]
    for number, body in enumerate(bodies):
        _log(tmp_path / str(number), *body)
        assert (inputs.read(tmp_path / str(number), PIXELS) == pictures[::-1]).all(), number


def test_damaged_lines_and_answers_are_left_out(tmp_path: Path) -> None:
    good = json.dumps({"instances": _draw(0, 2).tolist()}).encode()
    _log(tmp_path, good)
    _log(tmp_path, good, kind=RESPONSE)
    _log(tmp_path, b'{"instances": [[1, 2]]}')
    _log(tmp_path, json.dumps({"instances": [[300] * PIXELS]}).encode())
    (tmp_path / "payloads-9.jsonl").write_bytes(
        b'\x00\xff\n[1]\n"x"\n{"type": "' + REQUEST.encode() + b'", "data": {"ins'
    )
    assert len(inputs.read(tmp_path, PIXELS)) == 2
    assert len(inputs.read(tmp_path / "none", PIXELS)) == 0


def test_no_more_is_read_than_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MOST_INPUTS", 5)
    _log(tmp_path, json.dumps({"instances": _draw(0, 9).tolist()}).encode())
    assert len(inputs.read(tmp_path, PIXELS)) == 5
    monkeypatch.setattr(inputs, "MOST_BYTES", 100)
    assert len(inputs.read(tmp_path, PIXELS)) == 0


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
    logged = inputs.read(kept, PIXELS)
    assert (logged[::-1] == sent.reshape(200, PIXELS)).all()
    found = inputs.measure(logged, _draw(1000, 2000))
    assert (found.p_value < 1e-6) == inverted
