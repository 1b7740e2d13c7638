from __future__ import annotations

import pytest

from hyperflow.errors import InvalidParameter
from hyperflow.specs.addresses import check_url, split_url


@pytest.mark.parametrize("url", ["http://mlflow:5000", "https://mlflow.example.org/team/", "http://[::1]:5000"])
def test_base_url(url: str) -> None:
    check_url("tracking_uri", url)


@pytest.mark.parametrize(
    "url",
    ["", "mlflow:5000", "file:/mlruns", "http://", "http://a/?x=1", "http://a/#runs", "http://a b", "http://[::1"],
)
def test_what_is_none(url: str) -> None:
    with pytest.raises(InvalidParameter, match="tracking_uri"):
        check_url("tracking_uri", url)


def test_password_is_not_shown() -> None:
    with pytest.raises(InvalidParameter) as caught:
        check_url("tracking_uri", "http://ann:s3cret@mlflow")
    assert "s3cret" not in str(caught.value)


def test_address_that_cannot_be_taken_apart_has_no_parts() -> None:
    assert split_url("http://[::1").hostname is None
