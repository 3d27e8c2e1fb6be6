"""Synthetic data sets in MNIST's layout, and a loopback web server that can misbehave in many ways."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import socket
import struct
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from launcher import datasets
from launcher.datasets.download import Limits
from launcher.datasets.registry import DataFile, Dataset, Source

QUICK = Limits(connect=1.0, stall=0.4, least=4096, silence=0.8)
TRAIN_IMAGES, TRAIN_LABELS = "train/train-images-idx3-ubyte", "train/train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "test/t10k-images-idx3-ubyte", "test/t10k-labels-idx1-ubyte"


def images(count: int, seed: int = 0) -> bytes:
    return struct.pack(">4i", 2051, count, 28, 28) + random.Random(f"images {seed}").randbytes(count * 784)


def labels(count: int, seed: int = 0) -> bytes:
    numbers = random.Random(f"labels {seed}")
    return struct.pack(">2i", 2049, count) + bytes(numbers.randrange(10) for _ in range(count))


@dataclass
class Tiny:
    """A synthetic data set: 60 and 20 noise images in MNIST's layout."""

    content: dict[str, bytes] = field(
        default_factory=lambda: {
            TRAIN_IMAGES: images(60, 1),
            TRAIN_LABELS: labels(60, 1),
            TEST_IMAGES: images(20, 2),
            TEST_LABELS: labels(20, 2),
        }
    )

    def dataset(self, *sources: Source) -> Dataset:
        files = tuple(DataFile(p, len(b), hashlib.sha256(b).hexdigest()) for p, b in self.content.items())
        return replace(datasets.get("mnist"), name="synthetic", title="Synthetic", files=files, sources=sources)

    def write(self, folder: Path) -> Path:
        for path, data in self.content.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        return folder

    def zip(self, prefix: str = "MNIST/", *, packed: bool = False) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, data in self.content.items():
                if packed:
                    archive.writestr(f"{prefix}{path}.gz", gzip.compress(data))
                else:
                    archive.writestr(prefix + path, data)
        return buffer.getvalue()

    def is_whole(self, folder: Path) -> bool:
        """All four files, right, and nothing else at all."""
        found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        return found == self.content and not (folder / ".dataset").exists()


Route = Callable[[BaseHTTPRequestHandler], None]


class Web:
    """A loopback web server: ``routes`` maps a path to what is done there; ``asked`` are the paths asked for."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}
        self.asked: list[str] = []
        self.closing = threading.Event()
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def do_GET(self) -> None:
                web.asked.append(self.path)
                try:
                    web.routes.get(self.path, status(404))(self)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: object) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.socket.setblocking(False)  # a connection that has gone again must not hold `close` up
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def put(self, path: str, route: Route) -> str:
        self.routes[path] = route
        return self.url + path

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def status(code: int) -> Route:
    def route(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return route


def serve(body: bytes, *, promise: int | None = None, piece: int = 1 << 16, pause: float = 0) -> Route:
    """Send ``body``; ``promise`` is the Content-Length (0: none is sent); ``pause`` seconds after every piece."""

    def route(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        if promise != 0:
            handler.send_header("Content-Length", str(len(body) if promise is None else promise))
        handler.end_headers()
        for start in range(0, len(body), piece):
            handler.wfile.write(body[start : start + piece])
            if pause:
                time.sleep(pause)

    return route


def reset(body: bytes) -> Route:
    """Half the body, then a TCP reset."""

    def route(handler: BaseHTTPRequestHandler) -> None:
        serve(body[: len(body) // 2], promise=len(body))(handler)
        handler.wfile.flush()
        time.sleep(0.05)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()

    return route


def endless(web: Web) -> Route:
    def route(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not web.closing.is_set():
            handler.wfile.write(bytes(1 << 16))

    return route


def mute(web: Web, body: bytes = b"") -> Route:
    """Take the request and say nothing; with a body: say that much, then nothing."""

    def route(handler: BaseHTTPRequestHandler) -> None:
        if body:
            serve(body, promise=10 * len(body))(handler)
            handler.wfile.flush()
        web.closing.wait(20)

    return route


def trickle(web: Web) -> Route:
    """One byte every 50 ms: never silent, never done."""

    def route(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not web.closing.wait(0.05):
            handler.wfile.write(b"x")

    return route


@dataclass
class Kit:
    """What the tests use of this file (``importlib`` mode: nothing can be imported from a conftest)."""

    web: Web
    tiny: Tiny = field(default_factory=Tiny)
    limits: Limits = QUICK
    images = staticmethod(images)
    labels = staticmethod(labels)
    status = staticmethod(status)
    serve = staticmethod(serve)
    reset = staticmethod(reset)

    def endless(self) -> Route:
        return endless(self.web)

    def mute(self, body: bytes = b"") -> Route:
        return mute(self.web, body)

    def trickle(self) -> Route:
        return trickle(self.web)

    def archive(self, route: Route | None = None, name: str = "good", limit: int = 1 << 20) -> Source:
        """A source: one zip; without a route, the right one."""
        url = self.web.put(f"/{name}.zip", route or serve(self.tiny.zip()))
        return Source(name, f"the {name} one", "archive", url, "launcher.datasets.unpack:from_zip", limit)

    def gzips(self, name: str = "mirror") -> Source:
        """A source: one .gz a file, all right."""
        for path, data in self.tiny.content.items():
            self.web.put(f"/{name}/{Path(path).name}.gz", serve(gzip.compress(data)))
        return Source(
            name, "a mirror", "gzip", f"{self.web.url}/{name}/", "launcher.datasets.unpack:from_gzip", 1 << 20
        )

    def client(self, kind: str, unpack: str = "launcher.datasets.unpack:from_zip", limit: int = 1 << 20) -> Source:
        return Source(kind, f"the {kind} one", kind, "synthetic==1", unpack, limit)


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kit]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    web = Web()
    yield Kit(web)
    web.close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The launcher's cache, each test its own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LAUNCHER_CACHE_DIR", str(folder))
    return folder
