"""A person's yes before a model goes live: what there is to decide by, and the wait, in which others may deploy."""

from __future__ import annotations

import time
from pathlib import Path

from hyperflow import datasets, report
from hyperflow.engines import get_engine
from hyperflow.parameters import Parameters
from hyperflow.specs import Answer, Question
from hyperflow.steps import turn
from hyperflow.steps.context import Step
from hyperflow.volume import cards, lease, paths, records

REQUIRED = "required"


def seek(current: Step, parameters: Parameters, judged: records.Decide, verdict: str, data_path: str) -> Answer | None:
    """Have a person say whether a model may go live; None where nobody is asked.

    The service is other runs' while this one waits; on a yes it is this run's again.

    Args:
        current: The step.
        parameters: Whether to ask, and how long to wait.
        judged: The gate's answer.
        verdict: The same with all its numbers, as Markdown.
        data_path: Folder of the data set.

    Raises:
        Conflict: Another model has gone live meanwhile, or is about to.
        Unavailable: The question cannot be put.
    """
    if parameters.approval != REQUIRED or not judged.deploy:
        return None
    if judged.serving and judged.serving.run_id == current.run_id:
        return _earlier(Path(judged.candidate.path))
    against = judged.serving.run_id if judged.serving else ""
    lease.release(parameters.model_name, current.run_id)
    now = time.time()
    answer = get_engine().ask(Question(
        current.run_id, parameters.model_name, judged.reason, verdict, against,
        page=_page(current.run_id, judged, data_path), asked=now, until=now + parameters.approval_timeout,
    ))  # fmt: skip
    if answer.approved:
        lease.hold(parameters.model_name, current.run_id, lease.STEP_SECONDS, parameters.turn_timeout)
        turn.nothing_else_has_gone_live(current.run_id, parameters.model_name, judged)
    return answer


def _page(run_id: str, judged: records.Decide, data_path: str) -> str:
    """Write the page that a person decides by; return its place."""
    page = str(paths.approval_page(run_id))
    trained = records.read(run_id, records.Train)
    sections = report.training(trained, datasets.open_dataset(data_path)) if trained else []
    paths.approval(run_id).mkdir(parents=True, exist_ok=True)
    report.write(page, f"May run {run_id} go live?", [report.verdict(judged), *sections])
    return page


def _earlier(model: Path) -> Answer | None:
    """Return what was said of a model that is live already: a step that is run again asks no more."""
    card = cards.read(model)
    return Answer(**card.approval) if card and card.approval else None
