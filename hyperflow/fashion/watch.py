"""Ends the process when it is told to, even while TensorFlow holds the main thread in an epoch or an exchange."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def signals_end_the_process() -> Iterator[threading.Lock]:
    """Exit with 128 + its number as soon as SIGTERM or SIGINT comes; call it from the main thread.

    Give a lock; while it is held, the end waits, so that a file can be finished or taken away.
    """
    guard = threading.Lock()
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    # Python's own handlers wait for the main thread; the wake-up descriptor does not.
    previous_descriptor = signal.set_wakeup_fd(writer.fileno())
    previous = {number: signal.signal(number, _wake) for number in _SIGNALS}
    watcher = threading.Thread(target=_watch, args=(reader, guard), daemon=True)
    watcher.start()
    try:
        yield guard
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous_descriptor)
        writer.close()
        watcher.join()
        reader.close()


@contextlib.contextmanager
def must_end_within(seconds: int) -> Iterator[None]:
    """Let SIGALRM end the process (128 + 14) if what stands in the block takes longer.

    TensorFlow keeps Python's lock while it waits for a cluster to come up, so nothing written in Python could end it.
    """
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def _wake(number: int, frame: FrameType | None) -> None:
    """Be a handler, so that the signal is not left to the system's default."""


def _watch(reader: socket.socket, guard: threading.Lock) -> None:
    while caught := reader.recv(1):
        if caught[0] in _SIGNALS:
            with guard:
                print(f"ended by {signal.Signals(caught[0]).name}", file=sys.stderr, flush=True)
                os._exit(128 + caught[0])
