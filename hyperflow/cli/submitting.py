"""The command line's pipeline side: how a compiled pipeline is judged and sent to KFP's API.

What KFP's own command leaves to the server, or to a step an hour later, is judged here before anything is sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperflow import client, translation
from hyperflow.cli import spans
from hyperflow.errors import InvalidParameter, Unavailable
from hyperflow.parameters import Parameters
from hyperflow.specs import ModelRef

_FIELDS = 6
_FIELD = re.compile(r"[0-9A-Za-z*?,/-]+")
_SHORT_WAYS = re.compile(r"@(yearly|annually|monthly|weekly|daily|midnight|hourly|every \S+)")


@dataclass(frozen=True)
class Target:
    """Where a run goes.

    Args:
        endpoint: Base URL of KFP's API; empty for what KFP's client finds by itself, in a notebook for example.
        namespace: The profile's namespace; empty where KFP has a single user.
        experiment: KFP's experiment, made if need be.
    """

    endpoint: str
    namespace: str
    experiment: str

    def __post_init__(self) -> None:
        if self.endpoint:
            client.check_url("--endpoint", self.endpoint)


@dataclass(frozen=True)
class When:
    """When a recurring run starts: by a cron expression, or every so often.

    Args:
        cron: Six fields, seconds first, or one of cron's @-words; or empty.
        every: A span of time, 6h for example; or empty.

    Raises:
        InvalidParameter: Neither or both are given, or KFP would read it otherwise than it is meant.
    """

    cron: str = ""
    every: str = ""

    def __post_init__(self) -> None:
        if bool(self.cron) == bool(self.every):
            raise InvalidParameter("--cron", self.cron, "either it, or --every")
        if self.every:
            spans.seconds(self.every)
        elif not _SHORT_WAYS.fullmatch(self.cron):
            _check_cron(self.cron)

    def trigger(self) -> dict[str, Any]:
        """Return it as KFP's client takes it."""
        if self.cron:
            return {"cron_expression": self.cron}
        return {"interval_second": int(spans.seconds(self.every))}


def judge(values: Mapping[str, Any]) -> None:
    """Judge all values of a run as its first step will, as far as that needs no cluster.

    Raises:
        InvalidParameter: They cannot work.
    """
    from hyperflow.engines import kubeflow

    parameters = Parameters.complete(values)
    translation.judge(parameters)
    with translation.refusals():
        kubeflow.create().judge(
            translation.tune_spec(parameters, "check", "/"),
            translation.train_spec(parameters, "check", "/", {}),
            translation.serve_spec(parameters, "check", ModelRef("/")),
        )


def submit(pipeline: Path, values: Mapping[str, Any], target: Target, name: str) -> str:
    """Start a run; return its id.

    Raises:
        Unavailable: KFP's API cannot be reached, or refuses it.
    """
    with _answers(target):
        kfp = _connect(target)
        run = kfp.run_pipeline(_experiment(kfp, target), name, str(pipeline), dict(values))
    return str(run.run_id)


def schedule(pipeline: Path, values: Mapping[str, Any], target: Target, name: str, when: When) -> str:
    """Create a recurring run that is on, one run at a time, without making up for what was missed; return its id.

    Raises:
        Unavailable: KFP's API cannot be reached, or refuses it.
    """
    with _answers(target):
        kfp = _connect(target)
        made = kfp.create_recurring_run(
            experiment_id=_experiment(kfp, target), job_name=name, pipeline_package_path=str(pipeline),
            params=dict(values), max_concurrency=1, no_catchup=True, enabled=True, **when.trigger(),
        )  # fmt: skip
    return str(made.recurring_run_id)


def _check_cron(expression: str) -> None:
    fields = expression.split()
    if len(fields) != _FIELDS or not all(_FIELD.fullmatch(field) for field in fields):
        allowed = f"{_FIELDS} fields, seconds first, as in '0 0 3 * * *' for each night at three"
        raise InvalidParameter("--cron", expression, allowed)


def _connect(target: Target) -> Any:
    import kfp

    access = client.Access.from_environment()
    return kfp.Client(
        host=target.endpoint or None, existing_token=access.token or None, cookies=access.cookie or None,
    )  # fmt: skip


def _experiment(kfp: Any, target: Target) -> str:
    return str(kfp.create_experiment(target.experiment, namespace=target.namespace or None).experiment_id)


@contextmanager
def _answers(target: Target) -> Iterator[None]:
    """Say in one place what a refusal, or silence, of KFP's API means.

    Raises:
        Unavailable: It refuses, or does not answer.
    """
    import kfp_server_api
    import urllib3

    where = target.endpoint or "KFP's API"
    try:
        yield
    except kfp_server_api.ApiException as error:
        remedy = "give a token (HYPERFLOW_TOKEN) or your browser's session cookie (HYPERFLOW_COOKIE)"
        unknown = error.status in (301, 302, 401, 403)
        raise Unavailable(f"{where} refuses it", _reason(error), remedy if unknown else "") from error
    except (urllib3.exceptions.HTTPError, OSError, ValueError, RuntimeError) as error:
        remedy = "give --endpoint, the URL that ends in /pipeline where Kubeflow has a dashboard"
        raise Unavailable(f"{where} does not answer as KFP's API does", str(error), remedy) from error


def _reason(error: Any) -> str:
    try:
        told = json.loads(error.body)
    except (TypeError, ValueError):
        return f"{error.status} {error.reason}"
    return f"{error.status} {told.get('error_message') or told.get('message') or told.get('error') or error.reason}"
