"""A small client of MLflow's REST API: runs, what is logged to them, and artifacts through the server.

What it shares with other clients is in `rest`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from hyperflow.client import Reply
from hyperflow.errors import Unavailable
from hyperflow.tracking.credentials import MLFLOW
from hyperflow.tracking.rest import Api, error_code

_METRICS, _REST = 800, 100  # in one log-batch; MLflow takes 1,000 metrics, 100 parameters and 100 tags, 1,000 in all
_EXISTS = "RESOURCE_ALREADY_EXISTS"
_MISSING = "RESOURCE_DOES_NOT_EXIST"


@dataclass(frozen=True)
class Run:
    """A run as the server has it.

    Args:
        id: Its id there.
        experiment: The id of its experiment.
        start: When it started, in milliseconds since 1970.
        status: RUNNING, FINISHED, FAILED, KILLED or SCHEDULED.
        end: When it ended, likewise; 0 where it has not.
        artifacts: The URI of its artifacts.
        tags: Its tags.
        parameters: Its parameters.
        metrics: The names of its metrics.
    """

    id: str
    experiment: str
    start: int
    status: str = "RUNNING"
    end: int = 0
    artifacts: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Run:
        """Read a run of an answer."""
        info, data = answer["info"], answer.get("data", {})
        return cls(
            info["run_id"], str(info["experiment_id"]), int(info.get("start_time", 0)), info.get("status", "RUNNING"),
            int(info.get("end_time", 0)), info.get("artifact_uri", ""),
            {each["key"]: each.get("value", "") for each in data.get("tags", [])},
            {each["key"]: each.get("value", "") for each in data.get("params", [])},
            tuple(each["key"] for each in data.get("metrics", [])),
        )  # fmt: skip


@dataclass(frozen=True)
class Metric:
    """One value of a metric; `time` is in milliseconds since 1970."""

    key: str
    value: float
    time: int
    step: int = 0


class Server(Api):
    """An MLflow tracking server."""

    kind, a_kind, option, root = "MLflow server", "an MLflow server", "--tracking-uri", "api/2.0"
    names = MLFLOW

    def experiment(self, name: str) -> str:
        """Return the id of an experiment, which is made if need be."""
        found = self._get("experiments/get-by-name", {"experiment_name": name}, missing=_MISSING)
        if not found:
            made = self._post("experiments/create", {"name": name}, exists=_EXISTS)
            if made:
                return str(made["experiment_id"])
            found = self._get("experiments/get-by-name", {"experiment_name": name})
        return str(found["experiment"]["experiment_id"])

    def run(self, run_id: str) -> Run:
        """Return a run by its id."""
        return Run.read(self._get("runs/get", {"run_id": run_id})["run"])

    def search(self, experiment: str, tag: str, value: str) -> list[Run]:
        """Return the runs of an experiment that have a tag, of a value without quotes; the earliest first."""
        asked = {"experiment_ids": [experiment], "filter": f"tags.`{tag}` = '{value}'", "max_results": 1000}
        found = [Run.read(each) for page in self._pages(asked) for each in page.get("runs", [])]
        return sorted(found, key=lambda run: (run.start, run.id))

    def create(self, experiment: str, name: str, start: int, tags: Mapping[str, str]) -> None:
        """Make a run that started at `start`, in milliseconds since 1970."""
        self._post("runs/create", {
            "experiment_id": experiment, "run_name": name, "start_time": start, "tags": _pairs(tags),
        })  # fmt: skip

    def delete(self, run_id: str) -> None:
        """Put a run among the deleted ones."""
        self._post("runs/delete", {"run_id": run_id})

    def update(self, run_id: str, status: str, end: int) -> None:
        """Set a run's state, and its end in milliseconds since 1970 where it has ended."""
        self._post("runs/update", {"run_id": run_id, "status": status, **({"end_time": end} if end else {})})

    def history(self, run_id: str, metric: str) -> dict[int, float]:
        """Return a metric's values by their steps; where one was logged twice, the later one."""
        answer = self._get("metrics/get-history", {"run_id": run_id, "metric_key": metric})
        values = sorted(answer.get("metrics", []), key=lambda each: int(each.get("timestamp", 0)))
        return {int(each.get("step", 0)): float(each["value"]) for each in values}

    def log(
        self, run_id: str, metrics: Sequence[Metric], parameters: Mapping[str, str], tags: Mapping[str, str]
    ) -> None:
        """Log to a run, in as few requests as the server allows; the tags, at most 100, are in the last."""
        rows = [{"key": m.key, "value": m.value, "timestamp": m.time, "step": m.step} for m in metrics]
        empty: list[dict[str, Any]] = []
        chunks = [*zip_longest(_chunks(rows, _METRICS), _chunks(_pairs(parameters), _REST), fillvalue=empty)]
        batches = chunks or [(empty, empty)]
        for number, (values, given) in enumerate(batches, 1):
            last = {"tags": _pairs(tags)} if number == len(batches) else {}
            self._post("runs/log-batch", {"run_id": run_id, "metrics": values, "params": given, **last})

    def put(self, run: Run, name: str, content: bytes) -> None:
        """Write an artifact, through the server.

        Raises:
            Unavailable: The server does not hand artifacts on, or did not take this one.
        """
        place = urlsplit(run.artifacts)
        if place.scheme != "mlflow-artifacts":
            why = f"its artifacts are at {place.scheme or 'file'}://, and it does not hand them on"
            remedy = "start it with --serve-artifacts (and --artifacts-destination), with a new experiment"
            raise Unavailable(f"the MLflow server {self.uri} takes no artifacts", why, remedy)
        path = quote(f"{place.path.strip('/')}/{name}")
        self.ask("PUT", f"mlflow-artifacts/artifacts/{path}", content, {"Content-Type": "application/octet-stream"})

    def _pages(self, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        token = "first"
        while token:
            page = self._post("runs/search", asked)
            yield page
            token = page.get("next_page_token", "")
            asked = {**asked, "page_token": token}

    def _get(self, path: str, values: Mapping[str, str], missing: str = "") -> dict[str, Any]:
        return self.content(self.ask("GET", f"mlflow/{path}?{urlencode(values)}", allowed=_is(missing)))

    def _post(self, path: str, body: object, exists: str = "") -> dict[str, Any]:
        return self.send_json("POST", f"mlflow/{path}", body, _is(exists))


def _chunks(rows: list[dict[str, Any]], most: int) -> Iterator[list[dict[str, Any]]]:
    for begin in range(0, len(rows), most):
        yield rows[begin : begin + most]


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _is(code: str) -> Callable[[Reply], bool]:
    """Allow the error of a code, or none at all."""
    return lambda reply: bool(code) and error_code(reply) == code
