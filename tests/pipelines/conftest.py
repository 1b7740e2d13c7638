"""What the tests of pipelines share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pipelines.api import Api


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.close()
