from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hyperflow.errors import InvalidParameter, Unavailable
from hyperflow.tracking import Credentials
from hyperflow.tracking.credentials import MLFLOW, PASSWORD, REGISTRY, REGISTRY_TOKEN, TOKEN, USERNAME
from tests.tracking.mlflow import basic


def test_what_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Credentials.from_environment().headers == {}
    monkeypatch.setenv(TOKEN, "t0ken")
    assert Credentials.from_environment().headers == {"Authorization": "Bearer t0ken"}
    monkeypatch.setenv(USERNAME, "ann")
    monkeypatch.setenv(PASSWORD, "wörd")
    assert Credentials.from_environment().headers == {"Authorization": basic("ann", "wörd")}


def test_a_steps_secret_is_read_anew_each_time_where_no_variable_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = replace(MLFLOW, folder=tmp_path)
    (tmp_path / TOKEN).write_text("t0ken\n")
    assert Credentials.from_environment(names).headers == {"Authorization": "Bearer t0ken"}
    (tmp_path / USERNAME).write_text("ann")
    (tmp_path / PASSWORD).write_text("wörd")
    assert Credentials.from_environment(names).headers == {"Authorization": basic("ann", "wörd")}
    monkeypatch.setenv(TOKEN, "mine")
    assert Credentials.from_environment(names).headers == {"Authorization": "Bearer mine"}
    monkeypatch.delenv(TOKEN)
    (tmp_path / PASSWORD).write_bytes(b"\xff")
    with pytest.raises(Unavailable, match="hyperflow-mlflow"):
        Credentials.from_environment(names)


def test_token_of_a_registry_is_a_file_of_the_secret_for_access(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = replace(REGISTRY, folder=tmp_path)
    (tmp_path / "token").write_text("of the services")
    assert Credentials.from_environment(names).headers == {}
    (tmp_path / REGISTRY_TOKEN).write_text("t0ken\n")
    assert Credentials.from_environment(names).headers == {"Authorization": "Bearer t0ken"}
    monkeypatch.setenv(REGISTRY_TOKEN, "two words")
    with pytest.raises(InvalidParameter, match=REGISTRY_TOKEN):
        Credentials.from_environment(names)


def test_nothing_of_them_is_shown() -> None:
    who = Credentials("ann", "s3cret", "t0ken")
    assert "s3cret" not in repr(who)
    assert "t0ken" not in repr(who)
    sent = who.headers["Authorization"]
    assert who.hide(f"you sent {sent} and s3cret, not t0ken") == (
        "you sent Basic (not shown) and (not shown), not (not shown)"
    )


def test_token_that_would_be_a_header_of_its_own() -> None:
    with pytest.raises(InvalidParameter, match=TOKEN) as caught:
        Credentials(token="t0ken\r\nX-Admin: 1")
    assert "t0ken" not in str(caught.value)
