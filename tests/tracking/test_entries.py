from __future__ import annotations

from hyperflow.tracking import entries
from hyperflow.volume import records
from hyperflow.volume.records import Asked
from tests.tracking import volumes
from tests.tracking.volumes import RUN


def test_long_and_empty_values_and_strange_names_fit() -> None:
    volumes.write()
    asked = records.read(RUN, Asked)
    assert asked
    _, entry, _ = entries.of_run(RUN)
    assert "note" not in entry.parameters, "MLflow takes no empty text"
    assert entry.parameters["trial_arguments"] == "{}"
    assert entries._fitting({"a|b=c": "x" * 10_000}) == {"a_b_c": "x" * 6000}


def test_digest_changes_with_each_thing_that_is_logged() -> None:
    volumes.write()
    digests = [entries.of_run(RUN)[1].digest for _ in range(2)]
    assert digests[0] == digests[1]
    volumes.write(until="train")
    for left in ("decide", "predict"):
        (volumes.paths.step_records(RUN) / f"{left}.json").unlink()
    assert entries.of_run(RUN)[1].digest != digests[0]
