"""The kubelet's side of `exec`: SPDY/3.1 as far as a command without input needs it.

The caller opens one stream each for the error, the output and the messages, in this order; headers that come in are not
read, and those that go out are empty. What the command printed goes out at its end, and its exit code as a Status.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from io import BufferedIOBase

PROTOCOL, CHANNELS = "SPDY/3.1", "v4.channel.k8s.io"

_CONTROL = 0x80030000
_SYN_STREAM, _SYN_REPLY, _PING, _GOAWAY = 1, 2, 6, 7
_FIN = 1

Run = Callable[[], tuple[int, bytes, bytes]]
"""Runs the command and returns its exit code, output and messages."""


def serve_exec(reading: BufferedIOBase, writing: BufferedIOBase, wanted: Sequence[str], run: Run) -> None:
    """Answer one `exec` over a connection that has been upgraded; `wanted` names its streams in their order."""
    headers, streams = zlib.compressobj(), list[int]()
    while frame := _read_frame(reading):
        kind, data = frame
        if kind == _PING:
            _send(writing, _PING, data)
        elif kind == _GOAWAY:
            return
        elif kind == _SYN_STREAM:
            streams.append(struct.unpack(">I", data[:4])[0])
            block = headers.compress(struct.pack(">I", 0)) + headers.flush(zlib.Z_SYNC_FLUSH)
            _send(writing, _SYN_REPLY, data[:4] + block)
            if len(streams) == len(wanted):
                _answer(writing, dict(zip(wanted, streams, strict=True)), run)


def _answer(writing: BufferedIOBase, streams: Mapping[str, int], run: Run) -> None:
    code, output, messages = run()
    for name, data in (("stdout", output), ("stderr", messages), ("error", _status(code))):
        if name in streams:
            writing.write(struct.pack(">II", streams[name], _FIN << 24 | len(data)) + data)
    writing.flush()


def _status(code: int) -> bytes:
    status: dict[str, object] = {"metadata": {}, "status": "Success"}
    if code:
        causes = [{"reason": "ExitCode", "message": str(code)}]
        message = f"command terminated with non-zero exit code: exit status {code}"
        status |= {"status": "Failure", "reason": "NonZeroExitCode", "message": message, "details": {"causes": causes}}
    return json.dumps(status).encode()


def _read_frame(reading: BufferedIOBase) -> tuple[int, bytes] | None:
    """Return the kind of the next control frame and its data; 0 for one with data; None at the end."""
    head = reading.read(8)
    if len(head) < 8:
        return None
    first, rest = struct.unpack(">II", head)
    data = reading.read(rest & 0xFFFFFF)
    return (first & 0xFFFF if first & 0x80000000 else 0), data


def _send(writing: BufferedIOBase, kind: int, data: bytes) -> None:
    writing.write(struct.pack(">II", _CONTROL | kind, len(data)) + data)
    writing.flush()
