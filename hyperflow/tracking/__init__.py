"""Write a run down on an MLflow server; nobody imports this where no server was named."""

from hyperflow.tracking.client import Server
from hyperflow.tracking.credentials import Credentials
from hyperflow.tracking.record import sync

__all__ = ["Credentials", "Server", "sync"]
