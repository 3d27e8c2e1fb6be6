"""The server itself: a socket, a thread for each connection, and an end that leaves nothing behind."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import socketserver
import ssl
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from .connection import Connection
from .faults import Faults
from .listing import Lists
from .signature import Account
from .store import Store

HOST = "127.0.0.1"
_STOP_SECONDS = 10.0


class ObsServer:
    """OBS over the folders below `root`, on the loopback; a context manager.

    Without `accounts`, nobody has keys and only what is public can be read. `tls` is a certificate and its key, in PEM.
    """

    def __init__(
        self,
        root: Path,
        port: int = 0,
        accounts: Mapping[str, Account] | None = None,
        faults: Faults | None = None,
        tls: tuple[Path, Path] | None = None,
        location: str = "cn-north-4",
    ) -> None:
        self.accounts = dict(accounts or {})
        """Access key -> its account. It may be changed while the server runs."""
        self.faults = faults if faults is not None else Faults()
        self.requests: Counter[tuple[str, str]] = Counter()
        """How often each (method, operation) was asked for."""
        self.lists = Lists()
        self.stopping = threading.Event()
        root.mkdir(parents=True, exist_ok=True)
        self.store = Store(root, location)
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._context: ssl.SSLContext | None = None
        if tls is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*tls)
        self._listener = _Listener((HOST, port), self, self._context)
        self.port: int = self._listener.server_address[1]
        scheme = "http" if tls is None else "https"
        self.endpoint = f"{scheme}://{HOST}:{self.port}"
        self.name = f"obs-{os.getpid()}-{self.port}"
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> ObsServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Accept connections; they already queue up since the server was made."""
        self._thread.start()

    def stop(self) -> None:
        """Close all connections, also those that wait, and end all threads; TimeoutError if one does not end."""
        self.stopping.set()
        if self._thread.ident is not None:
            self._listener.shutdown()
        self._listener.server_close()
        self._listener.close_all(time.monotonic() + _STOP_SECONDS)
        self.store.close()

    def count(self, method: str, operation: str) -> None:
        """Note a request."""
        with self._lock:
            self.requests[(method, operation)] += 1

    def next_id(self) -> str:
        """A request id that no other request of this machine has had."""
        return f"{os.getpid():08X}{self.port:08X}{time.time_ns() // 1000:016X}{next(self._ids):08X}"


class _Listener(socketserver.TCPServer):
    """Gives each connection a thread, and knows them all."""

    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], owner: ObsServer, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._open: dict[threading.Thread, socket.socket] = {}
        self._guard = threading.Lock()
        super().__init__(address, type("Connection", (Connection,), {"owner": owner}))

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        assert isinstance(request, socket.socket)
        thread = threading.Thread(target=self._serve, args=(request, client_address), daemon=True)
        with self._guard:
            self._open[thread] = request
        thread.start()

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that breaks is the client's affair."""

    def close_all(self, deadline: float) -> None:
        """End every connection; TimeoutError for a thread that is not over by then."""
        with self._guard:
            still = dict(self._open)
        for client in still.values():
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in still:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                raise TimeoutError("a connection of the OBS server does not end")

    def _serve(self, client: socket.socket, address: object) -> None:
        try:
            if self._context is not None:
                client.settimeout(30)
                client = self._context.wrap_socket(client, server_side=True)
                with self._guard:
                    self._open[threading.current_thread()] = client
            self.finish_request(client, address)
        except (OSError, ValueError):
            pass
        finally:
            self._close(client)
            with self._guard:
                self._open.pop(threading.current_thread(), None)

    def _close(self, client: socket.socket) -> None:
        """With a shutdown first, unless the connection is to be reset."""
        with contextlib.suppress(OSError):
            lingers = client.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
            if lingers[:4] == b"\0\0\0\0":
                client.shutdown(socket.SHUT_WR)
        client.close()
