"""An answer as it came, before anybody has judged it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_SHOWN = 500


@dataclass(frozen=True)
class Reply:
    """An answer, whoever gave it.

    Args:
        status: HTTP's status code.
        headers: Its headers, whose names are found in any case.
        body: Its body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The beginning of the body, to be shown."""
        return self.body[:_SHOWN].decode("utf-8", "replace").strip()

    @property
    def is_page(self) -> bool:
        """Whether it is written for a browser, as a login page is."""
        return self.status < 400 and self.headers.get("Content-Type", "").startswith("text/html")

    @property
    def is_gateways(self) -> bool:
        """Whether a gateway or a mesh's proxy, and not the predictor, gave or handed on this answer."""
        return "envoy" in self.headers.get("Server", "")
