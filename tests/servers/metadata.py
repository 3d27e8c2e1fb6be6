"""What a server in the cloud asks for temporary keys, on the loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer


class Metadata(BaseHTTPRequestHandler):
    """Of an Elastic Cloud Server's metadata and of IAM, what all their answers have."""

    def answer(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def answer_keys(self, access: str, ends: str = "2099-01-01") -> None:
        """Keys that are good until the day `ends`."""
        keys = {"access": access, "secret": "s", "securitytoken": "t", "expires_at": f"{ends}T00:00:00.000Z"}
        self.answer(json.dumps({"credential": keys}).encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving_metadata(handler: type[Metadata]) -> Iterator[str]:
    """Its address."""
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
