"""A predictor without TensorFlow: loads a folder that holds a whole model, and answers as the protocol says.

A file `hold` in the folder keeps it from loading.
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def main(name: str, folder: str) -> None:
    saved = Path(folder) / "1" / "saved_model.pb"
    while (Path(folder) / "hold").exists():
        time.sleep(0.02)
    if not saved.exists() or saved.read_bytes() == b"broken":
        sys.exit(f"cannot load a model from {folder}")

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Print nothing."""

        def do_GET(self) -> None:
            self._answer(200 if self.path == f"/v1/models/{name}" else 404, {"name": name, "folder": folder})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(200, {"predictions": [[0.1] * 10 for _ in body["instances"]]})

        def _answer(self, status: int, content: object) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


main(*sys.argv[1:])
