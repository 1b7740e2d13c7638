"""`hyperflow pick` and `hyperflow label`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hyperflow import datasets, volume
from hyperflow.serving.payloads import REQUEST, RESPONSE, Event, Folder
from tests.runner.laptop import SMALL, Laptop


def test_from_the_log_to_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop = Laptop(tmp_path / "volume")
    monkeypatch.setenv(volume.ENVIRONMENT, str(laptop.volume))
    small = datasets.load(str(SMALL), "small")
    log, picked, out = tmp_path / "log", tmp_path / "picked", tmp_path / "mine.npz"
    writer = Folder(log, 2**26)
    for number, image in enumerate(255 - small.images("test")[:20]):
        question = json.dumps({"instances": [image.tolist()]}).encode()
        answer = json.dumps({"predictions": [[0.5 + number / 50] + 9 * [0.01]]}).encode()
        for kind, body in ((REQUEST, question), (RESPONSE, answer)):
            assert writer.write(Event({"id": f"r{number}", "type": kind}, "application/json", body))

    code, output = laptop.call("pick", str(log), str(picked), "--dataset", "small", "--most", "12", values=[])
    assert code == 0, output
    assert "12 pictures, the least sure first" in output
    table = (picked / "labels.csv").read_text()
    assert table.splitlines()[1] == "r0,0,0,0.5000,pictures/0001.png"

    words = ("label", str(log), str(picked / "labels.csv"), str(out), "--dataset", "small")
    code, output = laptop.call(*words, values=[])
    assert code == 0, output
    assert "added to small (1500 and 500); 0 were there already, 0 have no label" in output
    mine = datasets.load(str(out), "mine")
    assert mine.train_count + mine.test_count == 2012
    code, output = laptop.call(*words, values=[])
    assert code == 1
    assert "mine.npz is in the way" in output
    code, output = laptop.call("label", str(log), str(picked / "labels.csv"), str(out), "--dataset", "none", values=[])
    assert "the volume has no data set 'none'" in output
