"""Who asks a server beside a run: what is in the environment, or in files of the same names."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from hyperflow.client import access
from hyperflow.errors import InvalidParameter, Unavailable

USERNAME, PASSWORD, TOKEN = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"
"""Environment variables, named as MLflow names them; a name and a password go before a token, as there."""

FOLDER = Path("/run/hyperflow/mlflow")
"""Where a step finds the namespace's Secret: files of the variables' names, read where none is set."""

REGISTRY_TOKEN = "MODEL_REGISTRY_TOKEN"
"""Environment variable with the token that a Kubeflow Model Registry wants, if it does."""

_HIDDEN = "(not shown)"


@dataclass(frozen=True)
class Names:
    """Where the credentials for one kind of server are.

    Args:
        token: Environment variable with a bearer token.
        folder: Folder of a Secret, with files of the variables' names, read where none of them is set.
        secret: The Secret's name.
        username: Environment variable with a user's name, where such servers take one.
        password: The one with their password.
    """

    token: str
    folder: Path
    secret: str
    username: str = ""
    password: str = ""

    @property
    def shown(self) -> str:
        """The variables, as they are told to a user."""
        return f"{self.username} and {self.password}, or {self.token}" if self.username else self.token


MLFLOW = Names(TOKEN, FOLDER, "hyperflow-mlflow", USERNAME, PASSWORD)
REGISTRY = Names(REGISTRY_TOKEN, access.FOLDER, "hyperflow-access")


@dataclass(frozen=True)
class Credentials:
    """Who asks.

    Args:
        username: A user's name.
        password: Their password.
        token: Bearer token.
        called: What the user calls the token.

    Raises:
        InvalidParameter: The token cannot be part of a request; it is not shown.
    """

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    called: str = TOKEN

    def __post_init__(self) -> None:
        if self.token and not re.fullmatch(r"[\x21-\x7e]+", self.token):
            raise InvalidParameter(self.called, _HIDDEN, "a token without spaces, on one line")

    @classmethod
    def from_environment(cls, names: Names = MLFLOW) -> Credentials:
        """Read what the user has set, or else what the Secret has, anew each time.

        Raises:
            InvalidParameter: The token cannot be part of a request.
            Unavailable: A file cannot be read.
        """
        variables = (names.username, names.password, names.token)
        given = [os.environ.get(name, "") for name in variables]
        username, password, token = given if any(given) else [_kept(names, name) for name in variables]
        return cls(username, password, token, names.token)

    @property
    def headers(self) -> dict[str, str]:
        """What a request says of who asks."""
        if self.username and self.password:
            pair = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def hide(self, text: str) -> str:
        """Take out of a text, such as a server's answer, what nobody else may read."""
        sent = self.headers.get("Authorization", "").partition(" ")[2]
        for secret in sorted(filter(None, {self.password, self.token, sent}), key=len, reverse=True):
            text = text.replace(secret, _HIDDEN)
        return text


def _kept(names: Names, name: str) -> str:
    """Return what a file of the Secret has, without the end of line that editors and `echo` leave."""
    path = names.folder / name
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n") if name and path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"{path} cannot be read", str(error), f"correct the Secret {names.secret}") from error
