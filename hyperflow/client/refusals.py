"""What an answer that is not the model's means: who gave it, and what lets the request through."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlsplit

from hyperflow.client.access import Access
from hyperflow.client.reply import Reply
from hyperflow.errors import JobFailed
from hyperflow.specs.addresses import split_url

_LOGIN = "give a bearer token (HYPERFLOW_TOKEN) or your browser's session cookie (HYPERFLOW_COOKIE)"


def refusal(url: str, reply: Reply, access: Access | None = None) -> JobFailed:
    """Explain an answer that is not the model's: who gave it, and what lets the request through."""
    access = access or Access.from_environment()
    answers = f"{named(url, access)} answers {reply.status}"
    if reply.status in range(300, 400) or reply.is_page:
        return _redirection(answers, url, reply, access)
    if reply.status == HTTPStatus.UNAUTHORIZED:
        return JobFailed(f"{answers}: it does not know who asks", _credentials(access), _LOGIN)
    if reply.status == HTTPStatus.FORBIDDEN:
        return JobFailed(f"{answers}: {_whose_policy(reply)} forbids it", reply.text, _permission(access))
    if reply.status == HTTPStatus.NOT_FOUND and reply.is_gateways and not reply.body:
        remedy = "ask with the host in the service's status.url, through the gateway that serves it"
        return JobFailed(f"{answers}: the gateway has no route for this host", remedy=remedy)
    if reply.status == HTTPStatus.SERVICE_UNAVAILABLE and reply.is_gateways:
        remedy = "see whether the predictor's pods are ready, and whether its mesh insists on mutual TLS"
        return JobFailed(f"{answers}: the gateway does not reach the predictor", reply.text, remedy)
    return JobFailed(answers, reply.text, "look at the predictor's log")


def _redirection(answers: str, url: str, reply: Reply, access: Access) -> JobFailed:
    """Tell a change to https from a login page."""
    to, asked = split_url(reply.headers.get("Location", "")), urlsplit(access.route(url)[0])
    if (asked.scheme, to.scheme, to.path) == ("http", "https", asked.path):
        return JobFailed(f"{answers}: it wants https", remedy=f"ask https://{asked.netloc}")
    where = f"sends to {to._replace(query='', fragment='').geturl()}" if reply.headers.get("Location") else "is a page"
    what = f"{answers}, which {where}: a login is asked for"
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


def named(url: str, access: Access) -> str:
    """Name what is asked: the address, and the host where that is another."""
    address, headers = access.route(url)
    return f"{address} (Host {headers['Host']})" if "Host" in headers else address
