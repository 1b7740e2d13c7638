"""The addresses of pods, without a cluster."""

from __future__ import annotations

from typing import cast

from tests.cluster.api import Api
from tests.cluster.network import Network


def test_pods_of_two_clusters_never_have_the_same_address() -> None:
    one, other = (Network(cast(Api, None)) for _ in range(2))
    assert one.address("pod") != other.address("pod")
    assert one.address("pod") == one.address("pod") != one.address("another")
