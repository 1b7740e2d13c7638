"""The client of MLflow's API: what it says where the server does not do, and what it never says."""

from __future__ import annotations

import time

import pytest

from hyperflow.errors import InvalidParameter, Unavailable
from hyperflow.tracking import Credentials, Server
from hyperflow.tracking.client import Metric
from tests.tracking.mlflow import Mlflow, basic


def test_server_that_is_down() -> None:
    with pytest.raises(Unavailable, match="gives no answer") as caught:
        Server("http://127.0.0.1:9").experiment("fashion")
    assert caught.value.remedy


def test_server_that_is_slow(mlflow: Mlflow) -> None:
    mlflow.seconds = 30
    began = time.monotonic()
    with pytest.raises(Unavailable, match="gives no answer"):
        Server(mlflow.url, seconds=0.3).experiment("fashion")
    assert time.monotonic() - began < 5


def test_all_answers_together_have_a_limit(mlflow: Mlflow) -> None:
    mlflow.seconds = 0.1
    server = Server(mlflow.url, total=0.25)
    server.experiment("fashion")
    with pytest.raises(Unavailable):
        server.experiment("another")
    assert len(mlflow.asked) < 5


def test_server_that_does_not_know_who_asks(mlflow: Mlflow) -> None:
    mlflow.authorization = basic("ann", "s3cret-word")
    with pytest.raises(Unavailable, match="401") as caught:
        Server(mlflow.url, Credentials("ann", "wr0ng-word")).experiment("fashion")
    assert "MLFLOW_TRACKING_PASSWORD" in caught.value.remedy
    assert "wr0ng-word" not in str(caught.value)
    assert basic("ann", "wr0ng-word").split()[1] not in str(caught.value), "the server has sent it back"
    Server(mlflow.url, Credentials("ann", "s3cret-word")).experiment("fashion")


@pytest.mark.parametrize("text", ["<html>Welcome</html>", "[1, 2]"])
def test_answer_of_something_else(mlflow: Mlflow, text: str) -> None:
    mlflow.experiments["fashion"] = "1"
    mlflow.instead = text
    with pytest.raises(Unavailable, match="does not answer as an MLflow server does"):
        Server(mlflow.url).experiment("fashion")


def test_address_with_a_password_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="--tracking-uri") as caught:
        Server("http://ann:s3cret@mlflow.example.org")
    assert "s3cret" not in str(caught.value)


def test_more_than_one_request_may_hold(mlflow: Mlflow) -> None:
    server = Server(mlflow.url)
    server.create(server.experiment("fashion"), "long", 1, {"x": "1"})
    (held,) = mlflow.of("x")
    many = {f"p{number}": "1" for number in range(250)}
    server.log(held.info["run_id"], [Metric("loss", 0.5, 1, step) for step in range(2500)], many, {"last": "1"})
    assert len(held.values) == 2500
    assert len(held.parameters) == 250
    assert held.tags == {"x": "1", "last": "1"}
