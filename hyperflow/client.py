"""Requests to a served model: straight to its address, or through an ingress that wants to know who asks."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import urllib3

from hyperflow.errors import InvalidParameter, JobFailed, Unavailable
from hyperflow.specs import Endpoint, ModelRef

INGRESS = "HYPERFLOW_INGRESS"
"""Environment variable with the base URL of the ingress, where services have no address of their own."""
TOKEN = "HYPERFLOW_TOKEN"
"""Environment variable with a bearer token, or with @ and the path of a file that holds one."""
COOKIE = "HYPERFLOW_COOKIE"
"""Environment variable with a session cookie, `name=value`, or with @ and the path of a file that holds one."""

SECONDS = 30.0
"""How long an answer may take before the service counts as not answering."""

_MOST_BYTES = 16 << 20  # of an answer; ten thousand images' probabilities take 2 MB
_SHOWN = 500
_HERE = ("127.0.0.1", "::1", "localhost")  # services of this machine are behind no ingress
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?")
_PLAIN = re.compile(r"[\x21-\x7e]+")
_COOKIE = re.compile(r"[\x21-\x3a\x3c\x3e-\x7e]+=[\x20-\x7e]*")
_LOGIN = "give a bearer token (HYPERFLOW_TOKEN) or your browser's session cookie (HYPERFLOW_COOKIE)"
_POOL = urllib3.PoolManager(retries=False, maxsize=32)  # of many threads at once, as in the demo page


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
        return cls(os.environ.get(INGRESS, ""), _secret(TOKEN), _secret(COOKIE))

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


def check_url(name: str, url: str) -> None:
    """Refuse what is not the base URL of a web server.

    Raises:
        InvalidParameter: It is not.
    """
    parts = _split(url)
    usual = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
    if not usual or not _PLAIN.fullmatch(url) or "@" in parts.netloc:
        shown = "(not shown)" if "@" in url else url
        raise InvalidParameter(name, shown, "a base URL without a password, for example https://kubeflow.example.org")


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


def get(url: str, access: Access | None = None, seconds: float = SECONDS) -> Reply:
    """Ask once, and return whatever is answered; a redirection is an answer, never followed.

    Raises:
        JobFailed: There is no answer.
    """
    return _send("GET", url, None, access or Access.from_environment(), seconds)


def post(url: str, body: object, access: Access | None = None, seconds: float = SECONDS) -> dict[str, object]:
    """Send JSON and return the JSON object that is answered.

    Raises:
        JobFailed: The answer is an error or a login page, or there is none.
    """
    access = access or Access.from_environment()
    return content(url, _send("POST", url, json.dumps(body).encode(), access, seconds), access)


def content(url: str, reply: Reply, access: Access | None = None) -> dict[str, object]:
    """Return the JSON object of an answer.

    Raises:
        JobFailed: It is an error, a login page, or something else.
    """
    access = access or Access.from_environment()
    if reply.status != HTTPStatus.OK or reply.is_page:
        raise refusal(url, reply, access)
    try:
        answer = json.loads(reply.body)
    except (ValueError, RecursionError) as error:
        raise JobFailed(f"{_named(url, access)} does not answer with JSON", reply.text) from error
    if not isinstance(answer, dict):
        raise JobFailed(f"{_named(url, access)} does not answer with a JSON object", reply.text)
    return answer


def refusal(url: str, reply: Reply, access: Access | None = None) -> JobFailed:
    """Explain an answer that is not the model's: who gave it, and what lets the request through."""
    access = access or Access.from_environment()
    named = f"{_named(url, access)} answers {reply.status}"
    if reply.status in range(300, 400) or reply.is_page:
        return _redirection(named, url, reply, access)
    if reply.status == HTTPStatus.UNAUTHORIZED:
        return JobFailed(f"{named}: it does not know who asks", _credentials(access), _LOGIN)
    if reply.status == HTTPStatus.FORBIDDEN:
        return JobFailed(f"{named}: {_whose_policy(reply)} forbids it", reply.text, _permission(access))
    if reply.status == HTTPStatus.NOT_FOUND and reply.is_gateways and not reply.body:
        remedy = "ask with the host in the service's status.url, through the gateway that serves it"
        return JobFailed(f"{named}: the gateway has no route for this host", remedy=remedy)
    if reply.status == HTTPStatus.SERVICE_UNAVAILABLE and reply.is_gateways:
        remedy = "see whether the predictor's pods are ready, and whether its mesh insists on mutual TLS"
        return JobFailed(f"{named}: the gateway does not reach the predictor", reply.text, remedy)
    return JobFailed(named, reply.text, "look at the predictor's log")


def _redirection(named: str, url: str, reply: Reply, access: Access) -> JobFailed:
    """Tell a change to https from a login page."""
    to, asked = _split(reply.headers.get("Location", "")), urlsplit(access.route(url)[0])
    if (asked.scheme, to.scheme, to.path) == ("http", "https", asked.path):
        return JobFailed(f"{named}: it wants https", remedy=f"ask https://{asked.netloc}")
    where = f"sends to {to._replace(query='', fragment='').geturl()}" if reply.headers.get("Location") else "is a page"
    what = f"{named}, which {where}: a login is asked for"
    return JobFailed(what, _credentials(access), f"{_LOGIN}; from inside the cluster ask the predictor itself")


def _whose_policy(reply: Reply) -> str:
    return "a policy of the mesh" if b"RBAC: access denied" in reply.body else "a policy"


def _permission(access: Access) -> str:
    """Tell what lets a request through a mesh's policy, which knows workloads, and a gateway's, which knows users."""
    if access.is_known:
        return "let the user of this token or cookie into the service's namespace, or ask as one who is"
    return f"let steps through: manifests/components/mesh has the AuthorizationPolicy; from outside {_LOGIN}"


def _credentials(access: Access) -> str:
    return "the token or cookie is not accepted; it may have ended" if access.is_known else "no credentials were sent"


def _send(method: str, url: str, body: bytes | None, access: Access, seconds: float) -> Reply:
    address, headers = access.route(url)
    if body is not None:
        headers["Content-Type"] = "application/json"
    try:
        response = _POOL.request(
            method, address, body=body, headers=headers, timeout=seconds, redirect=False, preload_content=False
        )
        with response:
            return Reply(response.status, response.headers, _body(response, time.monotonic() + seconds))
    except (urllib3.exceptions.HTTPError, OSError) as error:
        remedy = "see whether the service runs, and its log"
        if isinstance(error, urllib3.exceptions.NameResolutionError):
            remedy = "outside the cluster ask the ingress, with the service's host"
        raise JobFailed(f"{_named(url, access)} gives no answer", str(error), remedy) from error


def _body(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    """Read an answer piece by piece: a socket's own time limit begins anew with every byte.

    Raises:
        TimeoutError: It is not whole in time.
    """
    pieces, size = [], 0
    while size < _MOST_BYTES and (piece := response.read1(1 << 16)):
        pieces.append(piece)
        size += len(piece)
        if time.monotonic() > deadline:
            raise TimeoutError("the answer was not whole in time")
    return b"".join(pieces)


def _split(url: str) -> SplitResult:
    """Take a URL apart; one that cannot be has no parts."""
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")


def _named(url: str, access: Access) -> str:
    address, headers = access.route(url)
    return f"{address} (Host {headers['Host']})" if "Host" in headers else address


def _secret(name: str) -> str:
    value = os.environ.get(name, "")
    if not value.startswith("@"):
        return value.strip()
    try:
        return Path(value[1:]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"{name} names {value[1:]}, which cannot be read", str(error), "correct the path") from error
