from __future__ import annotations

from pathlib import Path

import pytest

from hyperflow import volume
from hyperflow.errors import Unavailable
from hyperflow.volume import notices, paths


def test_one_a_subject_for_as_long_as_it_is_true(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path))
    assert notices.all_of("run") == []
    notices.keep("run", "mlflow", "the server is down")
    notices.keep("run", "mlflow", "the server is slow")
    notices.keep("run", "registry", "who are you?")
    assert notices.all_of("run") == ["the server is slow", "who are you?"]
    notices.keep("run", "mlflow", "")
    notices.keep("run", "mlflow", "")
    assert notices.all_of("run") == ["who are you?"]


def test_place_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path))
    paths.notices("run").parent.mkdir(parents=True)
    paths.notices("run").write_text("in the way")
    for text in ("it failed", ""):
        with pytest.raises(Unavailable, match="notices"):
            notices.keep("run", "mlflow", text)
