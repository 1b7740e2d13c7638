"""Data sets behind s3:// and gs://, read by the real clients with the credentials of a mounted Secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests import pinned

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "tests" / "data" / "fashion-mnist-small"
KEY_ID, TOKEN = "AKIDFORTESTS", "an-access-token"
AUDIENCE = "https://oauth2.googleapis.com/token"
ACCOUNT = "loader@project.example.org"

LOAD = """
import sys
from pathlib import Path
from hyperflow import datasets, errors
from hyperflow.datasets import places
places.CREDENTIALS = Path(sys.argv[2])
try:
    print(datasets.load(sys.argv[1], "small").train_count)
except errors.DataError as error:
    sys.exit(str(error))
"""


class Store:
    """As much of S3 and of Google's Cloud Storage as reading a folder needs; who has no credentials gets nothing."""

    def __init__(self) -> None:
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.refused = 0
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                if url.path.startswith(("/storage/v1/", "/download/storage/v1/")):
                    return self._google(url.path, parse_qs(url.query))
                if f"Credential={KEY_ID}/" not in self.headers.get("Authorization", ""):
                    return self._refuse()
                if "list-type" in url.query:
                    return self._answer(b"<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>")
                return self._file(unquote(url.path).removeprefix("/bucket/folder/"))

            def do_POST(self) -> None:
                body = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                (assertion,) = body["assertion"]
                claims = jwt.decode(assertion, store.private.public_key(), algorithms=["RS256"], audience=AUDIENCE)
                assert claims["iss"] == ACCOUNT
                self._json({"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"})

            def _google(self, path: str, query: dict[str, list[str]]) -> None:
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    return self._refuse()
                _, _, name = path.partition("/o/")
                name = unquote(name).removeprefix("folder/")
                if not name:
                    return self._json({"items": [], "prefixes": []})
                if query.get("alt") == ["media"]:
                    return self._file(name)
                if not (SMALL / name).is_file():
                    return self._answer(b'{"error": {"code": 404, "message": "Not Found"}}', 404)
                item = {"bucket": "bucket", "name": f"folder/{name}", "size": str((SMALL / name).stat().st_size)}
                return self._json(item | {"timeCreated": "2026-01-01T00:00:00Z", "updated": "2026-01-01T00:00:00Z"})

            def _file(self, name: str) -> None:
                if not (SMALL / name).is_file():
                    return self._answer(b"<Error><Code>NoSuchKey</Code></Error>", 404)
                content = (SMALL / name).read_bytes()
                if not (span := self.headers.get("Range")):
                    return self._answer(content)
                first, _, last = span.removeprefix("bytes=").partition("-")
                part = content[int(first) : int(last or len(content)) + 1]
                return self._answer(
                    part, 206, {"Content-Range": f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"}
                )

            def _refuse(self) -> None:
                store.refused += 1
                self._answer(b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>", 403)

            def _json(self, content: Any) -> None:
                self._answer(json.dumps(content).encode(), 200, {"Content-Type": "application/json"})

            def _answer(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                sent = {"Content-Length": str(len(content)), "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
                for name, value in (sent | {"ETag": '"1"'} | (headers or {})).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # clients hang up on answers that they no longer need
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def configuration(self) -> dict[str, Any]:
        """Return what a user puts into the Secret."""
        pem = self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        account = {
            "type": "service_account", "client_email": ACCOUNT, "private_key": pem.decode(), "private_key_id": "1",
            "project_id": "project", "token_uri": f"{self.url}/token",
        }  # fmt: skip
        return {
            "s3": {"key": KEY_ID, "secret": "not shown", "endpoint_url": self.url},
            "gs": {"token": account, "endpoint_url": self.url, "project": "project"},
        }


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def clients() -> Path:
    try:
        return pinned.install(ROOT / "examples" / "cloud-data" / "requirements.txt")
    except pinned.Unreachable as error:
        pytest.skip(f"NOT TRIED: {error}")


def load(source: str, secret: Path, clients: Path | None, volume: Path) -> subprocess.CompletedProcess[str]:
    """Load a data set in a process like a step's, with the packages that the derived image adds."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GOOGLE_"))}
    paths = [str(ROOT), *([str(clients)] if clients else [])]
    environment["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = (
        "false"  # as in the image: no gRPC first, which our store has not
    )
    environment |= {
        "PYTHONPATH": os.pathsep.join(paths),
        "HYPERFLOW_VOLUME": str(volume),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    command = [sys.executable, "-c", LOAD, source, str(secret)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("source", ["s3://bucket/folder", "gs://bucket/folder"])
def test_the_secret_lets_it_in(source: str, store: Store, clients: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "fsspec.json").write_text(json.dumps(store.configuration()))
    ended = load(source, secret, clients, tmp_path / "volume")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "1500\n"
    assert store.refused == 0


def test_without_credentials_it_says_so(store: Store, clients: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "fsspec.json").write_text(json.dumps({"s3": {"endpoint_url": store.url}}))
    ended = load("s3://bucket/folder", secret, clients, tmp_path / "volume")
    assert ended.returncode == 1
    assert "s3://bucket/folder" in ended.stderr
    assert "redentials" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_secret_of_another_form_is_told_without_its_content(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "fsspec.json").write_text('{"s3": {"secret": "hush"')
    ended = load(str(SMALL), secret, None, tmp_path / "volume")
    assert ended.returncode == 1
    assert "no fsspec configuration" in ended.stderr
    assert "hush" not in ended.stderr


def test_without_the_packages_a_pod_is_told_of_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    ended = load("s3://bucket/folder", tmp_path / "none", None, tmp_path / "volume")
    assert ended.returncode == 1
    assert "examples/cloud-data" in ended.stderr
