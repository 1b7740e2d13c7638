"""One run at a time for one service, from its decision until its smoke test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hyperflow.engines import get_engine
from hyperflow.errors import Conflict
from hyperflow.volume import lease, records


@contextmanager
def ends_on_failure(model_name: str, run_id: str) -> Iterator[None]:
    """Let other runs have the service if the block fails."""
    try:
        yield
    except BaseException:
        lease.release(model_name, run_id)
        raise


def nothing_else_has_gone_live(run_id: str, model_name: str, decided: records.Decide) -> None:
    """Refuse to go on where another model has gone live since the decision: a retry, or a person, may be late.

    Raises:
        Conflict: One has.
    """
    serving = get_engine().serving(model_name)
    compared_with = decided.serving.run_id if decided.serving else ""
    if serving and serving.model.run_id not in (run_id, compared_with):
        raise Conflict(
            f"run {serving.model.run_id} has gone live as {model_name} since this run's decision",
            f"the candidate was compared with {f'run {compared_with}' if compared_with else 'nothing'}",
            "run this again; it will be compared with what is served now",
        )  # fmt: skip
