"""Who asks an MLflow server: what MLflow's own clients read from the environment, or files of those names."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from hyperflow.errors import InvalidParameter, Unavailable

USERNAME, PASSWORD, TOKEN = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"
"""Environment variables, named as MLflow names them; a name and a password go before a token, as there."""

FOLDER = Path("/run/hyperflow/mlflow")
"""Where a step finds the namespace's Secret: files of the variables' names, read where none is set."""

_NAMES = (USERNAME, PASSWORD, TOKEN)
_HIDDEN = "(not shown)"


@dataclass(frozen=True)
class Credentials:
    """Who asks.

    Args:
        username: A user's name.
        password: Their password.
        token: Bearer token.

    Raises:
        InvalidParameter: The token cannot be part of a request; it is not shown.
    """

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.token and not re.fullmatch(r"[\x21-\x7e]+", self.token):
            raise InvalidParameter(TOKEN, _HIDDEN, "a token without spaces, on one line")

    @classmethod
    def from_environment(cls) -> Credentials:
        """Read what the user has set, or else what the Secret has, anew each time.

        Raises:
            InvalidParameter: The token cannot be part of a request.
            Unavailable: A file cannot be read.
        """
        given = [os.environ.get(name, "") for name in _NAMES]
        return cls(*(given if any(given) else map(_kept, _NAMES)))

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


def _kept(name: str) -> str:
    """Return what a file of the Secret has, without the end of line that editors and `echo` leave."""
    path = FOLDER / name
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"{path} cannot be read", str(error), "correct the Secret hyperflow-mlflow") from error
