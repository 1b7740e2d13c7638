"""What the predictor's payload log has: the pictures that were sent, and the scores that were answered.

A log is a folder of files, one for each process of the predictor, of CloudEvents as lines of JSON (`log_payloads`). A
request and its answer have one id. Lines that are damaged or not yet whole are passed over.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from hyperflow.errors import Unavailable

MOST_BYTES = 64 * 2**20
"""Most bytes that are read of a log for its newest pictures, from its end."""
REQUEST, RESPONSE = "org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response"

_TYPES = {"UINT8": "<u1", "INT32": "<i4", "INT64": "<i8", "FP32": "<f4", "FP64": "<f8"}
_FAULTS = (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError)

Event = Mapping[str, Any]


def newest(folder: Path, pixels: int, most: int) -> NDArray[np.float64]:
    """Return the newest pictures of a log, the newest first: [n, pixels], of 0 to 255.

    Args:
        folder: Where the predictor logs.
        pixels: Numbers that a picture has; what has another size, or is no picture of 0 to 255, is left out.
        most: Most pictures.

    Raises:
        Unavailable: There is no such folder, or it or a file in it cannot be read.
    """
    found: list[NDArray[np.float64]] = []
    for line in _newest_lines(folder):
        sent = pictures(_event(line), pixels)
        found.extend(sent[_is_picture(sent)][::-1])
        if len(found) >= most:
            break
    return np.array(found[:most]).reshape(-1, pixels)


def events(folder: Path) -> Iterator[Event]:
    """Yield every request and answer of a log, file by file, the oldest first.

    Raises:
        Unavailable: There is no such folder, or it or a file in it cannot be read.
    """
    for file in _files(folder):
        try:
            with file.open("rb") as lines:
                for line in lines:
                    if event := _event(line):
                        yield event
        except OSError as error:
            _unreadable(file, error)


def pictures(event: Event, pixels: int) -> NDArray[np.float64]:
    """Return the pictures of a request, in its order: [n, pixels]; none of what is no request, or has another size."""
    return _rows(event, REQUEST, ("instances", "inputs"), pixels)


def scores(event: Event, classes: int) -> NDArray[np.float64]:
    """Return the scores of an answer, in the order of the request: [n, classes]; none of what is no such answer."""
    return _rows(event, RESPONSE, ("predictions", "outputs"), classes)


def _rows(event: Event, kind: str, fields: tuple[str, str], width: int) -> NDArray[np.float64]:
    if event.get("type") != kind:
        return np.empty((0, width))
    try:
        return _numbers(event, *fields).astype(np.float64).reshape(-1, width)
    except _FAULTS:
        return np.empty((0, width))


def as_image(picture: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.uint8] | None:
    """Return a picture as an image, [height, width] or [height, width, 3], or None where it is not of 0 to 255."""
    if not _is_picture(picture[None])[0]:
        return None
    return picture.round().astype(np.uint8).reshape(shape if shape[2] > 1 else shape[:2])


def _is_picture(sent: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(((sent >= 0) & (sent <= 255)).all(axis=1))


def _files(folder: Path) -> list[Path]:
    """Return the log's files, the oldest first: their names begin with the time."""
    try:
        names = os.listdir(folder)
    except OSError as error:
        _unreadable(folder, error)
    return [folder / name for name in sorted(names) if name.startswith("payloads-") and name.endswith(".jsonl")]


def _newest_lines(folder: Path) -> Iterator[bytes]:
    left = MOST_BYTES
    for file in reversed(_files(folder)):
        try:
            with file.open("rb") as log:
                size = log.seek(0, 2)
                log.seek(max(0, size - left))
                text = log.read(left)
        except FileNotFoundError:  # deleted meanwhile
            continue
        except OSError as error:
            _unreadable(file, error)
        left -= len(text)
        yield from reversed(text.split(b"\n"))
        if left <= 0:
            return


def _unreadable(place: Path, error: OSError) -> NoReturn:
    missing = isinstance(error, FileNotFoundError)
    remedy = "give the folder of log_payloads" if missing else "read it as the user that the predictor runs as"
    raise Unavailable(f"{place} cannot be read", error.strerror or str(error), remedy) from error


def _event(line: bytes) -> Event:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def _numbers(event: Event, v1: str, v2: str) -> NDArray[Any]:
    """Return the numbers of a body: of rows under `v1`, or of the first tensor under `v2`."""
    if "data_base64" not in event:
        return _of_json(event["data"], v1, v2, b"")
    body = base64.b64decode(event["data_base64"], validate=True)
    question, end = json.JSONDecoder().raw_decode(body.decode("latin-1"))  # V2's binary form: JSON, then the tensors
    return _of_json(question, v1, v2, body[end:])


def _of_json(body: Any, v1: str, v2: str, binary: bytes) -> NDArray[Any]:
    if v1 in body:
        return np.array([_row(each) for each in body[v1]])
    tensor = body[v2]
    if not isinstance(tensor, list) or not isinstance(tensor[0], dict):  # V1 by columns
        return np.array(_row(tensor))
    size = tensor[0].get("parameters", {}).get("binary_data_size")
    if size is None:
        return np.array(tensor[0]["data"])
    return np.frombuffer(binary[:size], dtype=_TYPES[tensor[0]["datatype"]])


def _row(row: Any) -> Any:
    """Return a row of numbers: alone, or as the only tensor of an object."""
    if not isinstance(row, dict):
        return row
    (numbers,) = row.values()
    return numbers
