"""Keep what is known of a failure when it is seen: an hour after a run its Workflow may be gone, with all it owns.

runs/<run id>/failed/<what>.txt     conditions, events, states of pods and the last lines of their logs
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count

from hyperflow import volume
from hyperflow.errors import Cancelled, HyperflowError, Unavailable
from hyperflow.volume import paths


def keep(run_id: str, what: str, lines: Iterable[str]) -> None:
    """Write some lines to a file of their own; a volume that cannot be written must not hide what has failed."""
    folder, text = paths.failed(run_id), "".join(f"{line}\n" for line in lines)
    names = (f"{what}.txt" if number == 1 else f"{what}-{number}.txt" for number in count(1))
    try:
        volume.write_text(next(folder / name for name in names if not (folder / name).exists()), text)
    except (Unavailable, OSError) as error:
        print(f"the evidence of {what} is not kept: {error}", flush=True)


@contextmanager
def kept(run_id: str, stage: str) -> Iterator[None]:
    """Keep the words of whatever fails in the body."""
    try:
        yield
    except Cancelled:
        raise
    except HyperflowError as failure:
        keep(run_id, stage, [str(failure)])
        raise
