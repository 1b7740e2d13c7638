"""How a place is opened: a folder, or any URL of one that fsspec reads, with the namespace's credentials."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hyperflow import pod
from hyperflow.errors import DataError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

CREDENTIALS = Path("/run/hyperflow/data-source")
"""Where `load_data` finds the namespace's Secret: files as fsspec reads its configuration, `{"s3": {"key": …}}`."""

FILE_SECONDS = 300
CONNECT_SECONDS = 10


def open_place(place: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a place, and the folder in it.

    Raises:
        DataError: There is no such file system here, or its credentials cannot be read.
    """
    import fsspec

    _configure()
    try:
        system, folder = fsspec.core.url_to_fs(os.path.expanduser(place), **_options(place))
    except ImportError as error:
        remedy = "install the package named"
        if pod.is_inside():
            remedy = "use an image of the steps that has the package: examples/cloud-data makes one for s3:// and gs://"
        raise DataError(f"{place} cannot be opened", str(error), remedy) from error
    except ValueError as error:
        raise DataError(f"{place} cannot be opened", str(error), "give a folder or an fsspec URL") from error
    return system, folder.rstrip("/")


def read_errors(place: str) -> tuple[type[Exception], ...]:
    """Return what a place's file system raises when it cannot read a file."""
    kind = place.partition("://")[0]
    if kind in ("http", "https"):
        import aiohttp

        return OSError, aiohttp.ClientError
    if kind in ("s3", "s3a"):
        from botocore.exceptions import BotoCoreError

        return OSError, BotoCoreError
    if kind in ("gs", "gcs"):
        import aiohttp
        from gcsfs.retry import HttpError
        from google.auth.exceptions import GoogleAuthError

        return OSError, aiohttp.ClientError, HttpError, GoogleAuthError
    return (OSError,)


def _options(place: str) -> dict[str, object]:
    if not place.startswith(("http://", "https://")):
        return {}
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=FILE_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=30)
    return {"client_kwargs": {"timeout": timeout, "trust_env": True}, "block_size": 0}


def _configure() -> None:
    """Give fsspec what the Secret has, if there is one; nothing of it is shown."""
    import fsspec.config

    try:
        fsspec.config.set_conf_files(str(CREDENTIALS), fsspec.config.conf)
    except (OSError, ValueError, TypeError) as error:
        why = f"a file of the Secret is no fsspec configuration ({type(error).__name__})"
        remedy = 'give it JSON as in {"s3": {"key": "…", "secret": "…"}}, under a key that ends in .json'
        raise DataError("the data source's credentials cannot be read", why, remedy) from error
