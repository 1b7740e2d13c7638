"""How requests get to a service: straight to its address, or through an ingress that wants to know who asks."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from hyperflow.errors import InvalidParameter, Unavailable
from hyperflow.specs import Endpoint, ModelRef
from hyperflow.specs.addresses import check_url

INGRESS = "HYPERFLOW_INGRESS"
"""Environment variable with the base URL of the ingress, where services have no address of their own."""
TOKEN = "HYPERFLOW_TOKEN"
"""Environment variable with a bearer token, or with @ and the path of a file that holds one."""
COOKIE = "HYPERFLOW_COOKIE"
"""Environment variable with a session cookie, `name=value`, or with @ and the path of a file that holds one."""

FOLDER = Path("/run/hyperflow/access")
"""Where a step finds the namespace's Secret: files `ingress`, `token` and `cookie`; a variable wins over its file."""

_HERE = ("127.0.0.1", "::1", "localhost")  # services of this machine are behind no ingress
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?")
_PLAIN = re.compile(r"[\x21-\x7e]+")
_COOKIE = re.compile(r"[\x21-\x3a\x3c\x3e-\x7e]+=[\x20-\x7e]*")


@dataclass(frozen=True)
class Access:
    """How requests get to a service.

    Args:
        ingress: Base URL that all requests go to, with the service's own host in the Host header; empty to ask the
            service at its address.
        token: Bearer token.
        cookie: Session cookie, `name=value`.

    Raises:
        InvalidParameter: One of them cannot be part of a request; a secret is not shown.
    """

    ingress: str = ""
    token: str = field(default="", repr=False)
    cookie: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.ingress:
            check_url(INGRESS, self.ingress)
        if self.token and not _PLAIN.fullmatch(self.token):
            raise InvalidParameter(TOKEN, "(not shown)", "a token without spaces, on one line")
        if self.cookie and not _COOKIE.fullmatch(self.cookie):
            raise InvalidParameter(COOKIE, "(not shown)", "name=value, on one line")

    @classmethod
    def from_environment(cls) -> Access:
        """Read what the operator has set; files anew each time, as tokens in them are renewed.

        Raises:
            InvalidParameter: A value cannot be part of a request.
            Unavailable: A file cannot be read.
        """
        return cls(_given(INGRESS, "ingress"), _given(TOKEN, "token"), _given(COOKIE, "cookie"))

    @property
    def is_known(self) -> bool:
        """Whether requests say who asks."""
        return bool(self.token or self.cookie)

    def route(self, url: str) -> tuple[str, dict[str, str]]:
        """Return the URL to ask in the place of a service's own, and the headers to ask with."""
        headers = {"Connection": "close"}  # so that requests meet every replica, as those of many users do
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if self.cookie:
            headers["Cookie"] = self.cookie
        parts = urlsplit(url)
        if not self.ingress or parts.hostname in _HERE:
            return url, headers
        return self.ingress.rstrip("/") + parts.path, {**headers, "Host": parts.netloc}


def reach(name: str, url: str, host: str) -> tuple[Endpoint, Access]:
    """Say where a service is and how requests get there, as the command line has it.

    Args:
        name: The model's name in requests.
        url: Base URL of the service, or of the ingress in front of it.
        host: The service's own host, where `url` is an ingress.

    Raises:
        InvalidParameter: The URL or the host cannot be one.
        Unavailable: A file with a token or cookie cannot be read.
    """
    check_url("--url", url)
    access = Access.from_environment()
    if not host:
        return Endpoint(name, url.rstrip("/"), ModelRef("/")), replace(access, ingress="")
    if not _HOST.fullmatch(host):
        raise InvalidParameter("--host", host, "a host's name, as in the service's status.url")
    return Endpoint(name, f"http://{host}", ModelRef("/")), replace(access, ingress=url)


def _given(name: str, key: str) -> str:
    value = os.environ.get(name, "")
    if not value and (FOLDER / key).exists():
        value = f"@{FOLDER / key}"
    if not value.startswith("@"):
        return value.strip()
    try:
        return Path(value[1:]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"{name} names {value[1:]}, which cannot be read", str(error), "correct the path") from error
