"""What is read of a payload log: every form of request and of answer, and nothing of what is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hyperflow.errors import Unavailable
from hyperflow.evaluation import logged
from hyperflow.serving.payloads import REQUEST, RESPONSE, Event, Folder

PIXELS = 784


def _draw(seed: int, count: int) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28)).astype(np.uint8)


def _log(folder: Path, body: bytes, content_type: str = "application/json", kind: str = REQUEST) -> None:
    assert Folder(folder, 2**26).write(Event({"id": "1", "type": kind}, content_type, body))


def _v2(pictures: NDArray[Any], **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "flatten_input", "shape": [len(pictures), PIXELS], "datatype": "UINT8", **more}]}


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
        assert (logged.newest(tmp_path / str(number), PIXELS, 99) == pictures[::-1]).all(), number


def test_damaged_lines_and_answers_are_left_out(tmp_path: Path) -> None:
    good = json.dumps({"instances": _draw(0, 2).tolist()}).encode()
    _log(tmp_path, good)
    _log(tmp_path, good, kind=RESPONSE)
    _log(tmp_path, b'{"instances": [[1, 2]]}')
    _log(tmp_path, json.dumps({"instances": [[300] * PIXELS]}).encode())
    (tmp_path / "payloads-9.jsonl").write_bytes(
        b'\x00\xff\n[1]\n"x"\n{"type": "' + REQUEST.encode() + b'", "data": {"ins'
    )
    assert len(logged.newest(tmp_path, PIXELS, 99)) == 2
    assert (
        sum(len(logged.pictures(event, PIXELS)) for event in logged.events(tmp_path)) == 3
    )  # 300 is no shade, but there


def test_a_log_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="nowhere cannot be read"):
        logged.newest(tmp_path / "nowhere", PIXELS, 99)
    (tmp_path / "payloads-1.jsonl").mkdir()
    for read in (lambda: logged.newest(tmp_path, PIXELS, 99), lambda: list(logged.events(tmp_path))):
        with pytest.raises(Unavailable, match=r"payloads-1\.jsonl cannot be read") as refused:
            read()
        assert "as the user that the predictor runs as" in refused.value.remedy


def test_no_more_is_read_than_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _log(tmp_path, json.dumps({"instances": _draw(0, 9).tolist()}).encode())
    assert len(logged.newest(tmp_path, PIXELS, 5)) == 5
    monkeypatch.setattr(logged, "MOST_BYTES", 100)
    assert len(logged.newest(tmp_path, PIXELS, 5)) == 0


def test_every_form_of_answer_is_read(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((3, 10)).astype(np.float32)
    tensor = {"name": "probabilities", "shape": [3, 10], "datatype": "FP32"}
    head = json.dumps({"outputs": [{**tensor, "parameters": {"binary_data_size": rows.nbytes}}]}).encode()
    bodies = [
        (json.dumps({"predictions": rows.tolist()}).encode(), "application/json"),
        (json.dumps({"predictions": [{"probabilities": row.tolist()} for row in rows]}).encode(), "application/json"),
        (json.dumps({"outputs": [{**tensor, "data": rows.ravel().tolist()}]}).encode(), "application/json"),
        (head + rows.tobytes(), "application/octet-stream"),
    ]
    for number, body in enumerate(bodies):
        _log(tmp_path / str(number), *body, kind=RESPONSE)
        (event,) = logged.events(tmp_path / str(number))
        assert np.allclose(logged.scores(event, 10), rows), number
        assert len(logged.scores(event, 7)) == len(logged.pictures(event, 10)) == 0


def test_only_pictures_become_images() -> None:
    picture = _draw(0, 1).reshape(-1).astype(float)
    image = logged.as_image(picture + 0.2 * (picture < 255), (28, 28, 1))
    assert image is not None
    assert (image.reshape(-1) == picture).all()
    assert logged.as_image(picture + 1000, (28, 28, 1)) is None
    coloured = logged.as_image(np.zeros(12), (2, 2, 3))
    assert coloured is not None
    assert coloured.shape == (2, 2, 3)
