"""A cloud of canned answers on the loopback: ModelArts, IAM and a server's metadata, every request kept."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

PROJECT = "0123456789abcdef0123456789abcdef"
FLAVOR = {
    "flavor_id": "modelarts.kat1.xlarge",
    "flavor_name": "Ascend: 1*Ascend 910",
    "flavor_type": "Ascend",
    "billing": {"code": "modelarts.kat1.xlarge", "unit_num": 1},
    "flavor_info": {"max_num": 4, "npu": {"unit_num": "1", "product_name": "snt9"}, "cpu": {"core_num": 24}},
}
ENGINE = {
    "engine_id": "mindspore_2.0.0-cann_6.3.0-py_3.7-euler_2.8.3-aarch64",
    "engine_name": "Ascend-Powered-Engine",
    "engine_version": "mindspore_2.0.0-cann_6.3.0-py_3.7-euler_2.8.3-aarch64",
    "v1_compatible": False,
}
POOL = {"metadata": {"name": "pool-1"}, "status": {"phase": "Running", "scope": [{"scopeType": "Train"}]}}


class Seen(NamedTuple):
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Cloud:
    """A context; `answers` maps "METHOD path-pattern" to (status, JSON or text), the last match first."""

    def __init__(self, tls: tuple[Path, Path] | None = None) -> None:
        self.tls = tls
        """Certificate and key, to be asked by https."""
        self.seen: list[Seen] = []
        self.headers: dict[str, str] = {}
        """Of every answer; a Date, for a wrong clock."""
        self.answers: dict[str, tuple[int, Any]] = {
            r"GET /v3/(auth/)?projects": (200, {"projects": [{"id": PROJECT, "name": "cn-north-4"}]}),
            r"GET .*/training-job-flavors": (200, {"total_count": 1, "flavors": [FLAVOR]}),
            r"GET .*/training-job-engines": (200, {"total": 1, "items": [ENGINE]}),
            r"GET .*/authorizations": (200, {"total_count": 1, "auth": [{"type": "agency", "content": "ma_agency"}]}),
            r"GET .*/training-quotas": (200, {"quotas": [{"resource": "job-num", "quota": 100, "used": 3}]}),
            r"GET .*/pools": (200, {"items": [POOL]}),
        }

    @property
    def endpoint(self) -> str:
        scheme, host = ("https", "localhost") if self.tls else ("http", "127.0.0.1")
        return f"{scheme}://{host}:{self._server.server_port}"

    def __enter__(self) -> Cloud:
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                cloud.seen.append(Seen(self.command, self.path, dict(self.headers.items()), body))
                line = f"{self.command} {self.path.partition('?')[0]}"
                unknown = (404, {"error_code": "APIGW.0101", "error_msg": "The API does not exist"})
                found = [row for pattern, row in reversed(cloud.answers.items()) if re.fullmatch(pattern, line)]
                status, value = (found or [unknown])[0]
                text = value if isinstance(value, str) else json.dumps(value)
                data = b"" if status == 204 else text.encode()
                self.send_response_only(status)
                for name, header in {"Date": self.date_time_string(), **cloud.headers}.items():
                    self.send_header(name, header)
                self.send_header("Content-Type", "application/json" if text[:1] in "{[" else "text/html")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815

            def handle(self) -> None:
                with contextlib.suppress(OSError):  # a client that does not trust us
                    super().handle()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.tls)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
