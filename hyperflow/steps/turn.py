"""One run at a time for one service, from its decision until its smoke test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hyperflow.volume import lease


@contextmanager
def ends_on_failure(model_name: str, run_id: str) -> Iterator[None]:
    """Let other runs have the service if the block fails."""
    try:
        yield
    except BaseException:
        lease.release(model_name, run_id)
        raise
