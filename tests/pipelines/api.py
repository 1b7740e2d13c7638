"""As much of the KFP API server as starting runs needs."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Api:
    """Answers as the server does, and keeps the bodies and the credentials sent to it."""

    def __init__(self) -> None:
        self.sent: dict[str, Any] = {}
        self.headers: dict[str, str] = {}
        self.refusal: tuple[int, dict[str, Any]] | None = None
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.endswith("healthz"):
                    return self._answer({"multi_user": False})
                run = {"run_id": "run-1", "state": "PENDING", "created_at": "2026-01-01T00:00:00Z"}
                return self._answer(run if "/runs/" in self.path else {"experiments": []})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                kind = self.path.split("?")[0].rsplit("/", 1)[1]
                api.headers = dict(self.headers)
                if api.refusal and kind != "experiments":
                    return self._answer(api.refusal[1], api.refusal[0])
                api.sent[kind] = body
                made = {"experiment_id": "e-1", "recurring_run_id": "r-1", "run_id": "run-1"}
                return self._answer({**body, **made, "created_at": "2026-01-01T00:00:00Z"})

            def _answer(self, content: object, status: int = 200) -> None:
                text = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        self.server.shutdown()
        self.server.server_close()
