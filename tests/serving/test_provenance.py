"""What the predictor tells of the model's origin."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import httpx
import pytest

from hyperflow import volume
from hyperflow.serving.provenance import properties
from hyperflow.volume import cards
from tests.serving.predictor import NAME, Predictor


def card(model_name: str, run_id: str) -> Path:
    """Put a card on the volume, and return its folder."""
    cards.write(model_name, cards.Card(run_id, "digest", "code", {"units": 32}, 0.875))
    return volume.model_path(model_name, run_id)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path / "volume"))
    return tmp_path / "volume"


def test_metadata_tell_where_the_model_comes_from_and_kserve_accepts_them(model_dir: Path, tmp_path: Path) -> None:
    from kserve.protocol.rest.v2_datamodels import ModelMetadataResponse

    folder = shutil.copytree(model_dir, card(NAME, "run-1"), dirs_exist_ok=True)
    running = Predictor(tmp_path, Path(folder), "--enable_grpc=false")
    try:
        answer = httpx.get(f"{running.url}/v2/models/{NAME}")
    finally:
        assert running.stop() == 0, running.log
    told = {"path": f"models/{NAME}/run-1", "run_id": "run-1", "accuracy": 0.875}
    assert answer.json()["properties"] == told
    assert ModelMetadataResponse.model_validate_json(answer.content).name == NAME


def test_a_mounted_folder_is_named_as_on_the_volume(tmp_path: Path) -> None:
    """KServe mounts `models/fashion/run-1` of the claim as `/mnt/models`."""
    mounted = shutil.copytree(card("fashion", "run-1"), tmp_path / "mnt" / "models")
    assert properties(Path(mounted), "fashion")["path"] == "models/fashion/run-1"


def test_a_model_served_under_another_name_keeps_its_place() -> None:
    assert properties(card("fashion", "run-1"), "other")["path"] == "models/fashion/run-1"


@pytest.mark.parametrize("text", [None, "{", "[]", "null", {"accuracy": "high"}, {"run_id": 5}, {"accuracy": None}])
def test_a_model_without_a_card_that_can_be_read_is_served_all_the_same(text: object) -> None:
    folder = card("fashion", "run-1")
    path = folder / cards.CARD
    if text is None:
        path.unlink()
    elif isinstance(text, str):
        path.write_text(text)
    else:
        path.write_text(json.dumps({**json.loads(path.read_text()), **text}))
    assert properties(folder, "fashion") == {}
