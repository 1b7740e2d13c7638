"""Asks the page's server what the page's scripts ask it, without a browser."""

from __future__ import annotations

import http.client
import json
import re
import uuid
from typing import Any
from urllib.parse import urlsplit


def ask(page: str, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, str], str]:
    """Return status, headers and text."""
    connection = http.client.HTTPConnection(urlsplit(page).netloc, timeout=20)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, answer.read().decode()
    finally:
        connection.close()


def send(page: str, event_data: object) -> str:
    """Send what the page's script sends, or ought not to; return what the page would show."""
    outcome = call(page, event_data)
    assert outcome["success"], outcome
    return str(outcome["output"]["data"][0])


def call(page: str, event_data: object) -> dict[str, Any]:
    """Send it, and return the last word of Gradio's queue."""
    config = _config(page)
    event = [_id(config, "draw"), "ask"]
    return _run(page, next(each["id"] for each in config["dependencies"] if event in each["targets"]), event_data)


def shown(page: str, name: str) -> str:
    """Return what a part shows when the page is opened."""
    config = _config(page)
    part = _id(config, name)
    outcome = _run(page, next(each["id"] for each in config["dependencies"] if each["outputs"] == [part]), None)
    return str(outcome["output"]["data"][0])


def _config(page: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(ask(page, "GET", "/config")[2])
    return config


def _id(config: dict[str, Any], name: str) -> int:
    return next(int(part["id"]) for part in config["components"] if part["props"].get("elem_id") == name)


def _run(page: str, function: int, event_data: object) -> dict[str, Any]:
    session = uuid.uuid4().hex
    body = {"data": [], "event_data": event_data, "fn_index": function, "session_hash": session}
    assert ask(page, "POST", "/gradio_api/queue/join", json.dumps(body).encode())[0] == 200
    events = ask(page, "GET", f"/gradio_api/queue/data?session_hash={session}")[2]
    messages = [json.loads(line) for line in re.findall(r"^data: (.*)$", events, re.M)]
    return next(message for message in messages if message["msg"] == "process_completed")
