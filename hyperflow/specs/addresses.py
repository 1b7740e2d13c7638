"""Addresses of web servers, as a user types them."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from hyperflow.errors import InvalidParameter

_PLAIN = re.compile(r"[\x21-\x7e]+")


def check_url(name: str, url: str) -> None:
    """Refuse what is not the base URL of a web server.

    Raises:
        InvalidParameter: It is not.
    """
    parts = split_url(url)
    usual = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
    if not usual or not _PLAIN.fullmatch(url) or "@" in parts.netloc:
        shown = "(not shown)" if "@" in url else url
        raise InvalidParameter(name, shown, "a base URL without a password, for example https://kubeflow.example.org")


def split_url(url: str) -> SplitResult:
    """Take a URL apart; one that cannot be has no parts."""
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")
