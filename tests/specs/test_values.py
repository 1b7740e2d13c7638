"""Values, names and fingerprints."""

from __future__ import annotations

import pytest

from hyperflow.specs import Trainer, fingerprint, format_value, job_name


@pytest.mark.parametrize(("value", "text"), [(64.0, "64"), (0.1, "0.1"), (1e-05, "1e-05"), ("a b", "a b"), (3, "3")])
def test_values_are_written_as_they_read_back(value: float | int | str, text: str) -> None:
    assert format_value(value) == text


def test_job_names_fit_katib_and_differ() -> None:
    long = "a" * 30 + "-1", "a" * 30 + "-2"
    names = {job_name("tune", run_id) for run_id in ("3f1c1f9e-0000-4000-8000-000000000000", "short", *long)}
    assert len(names) == 4
    assert all(len(name) <= 40 for name in names)


def test_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    one, two = Trainer(("x",), {"a": "1", "b": "2"}), Trainer(("x",), {"b": "2", "a": "1"})
    assert fingerprint(one) == fingerprint(two) != fingerprint(Trainer(("x",), {"a": "1", "b": "3"}))
