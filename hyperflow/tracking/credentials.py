"""Who asks an MLflow server: what MLflow's own clients read from the environment."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass, field

from hyperflow.errors import InvalidParameter

USERNAME, PASSWORD, TOKEN = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"
"""Environment variables, named as MLflow names them; a name and a password go before a token, as there."""

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
        """Read what the user has set."""
        return cls(*(os.environ.get(name, "") for name in (USERNAME, PASSWORD, TOKEN)))

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
