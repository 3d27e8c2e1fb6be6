"""The emulator as one object: state, object store, lifecycle and an HTTP server in a thread; a context manager.

    with Emulator(Path("state"), Settings(queuing=0)) as emulator:
        ...  # emulator.endpoint, emulator.environment()

uvicorn (with h11) is imported here and nowhere else: `pip install 'modelarts-launcher[emulator]'`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from launcher.emulator.obs import Account as ObsAccount
from launcher.emulator.obs import ObsServer
from launcher.errors import LauncherError
from launcher.locks import take
from storage.obs import ObsSettings

from .app import App
from .faults import Faults
from .house import Account, House, Say
from .lifecycle import Lifecycle
from .objects import Objects
from .runner import Runner
from .settings import Settings
from .state import State
from .switchboard import seed

HOST = "127.0.0.1"
PROBED_SECONDS = 0.2
"""How long somebody who only asks whether the lock is held may seem to hold it."""


class Busy(LauncherError):
    """Another emulator runs on that state folder."""


def busy(folder: Path) -> Busy:
    """The error for a second start."""
    hint = f'eval "$(python -m launcher emulator --status --state {folder})" uses it; --state FOLDER starts another'
    return Busy(f"an emulator already runs on {folder}", hint)


class Emulator:
    """See the module. `store` is an endpoint of S3 or OBS to use in place of our own, with the keys of `environ`; `say`
    gets a line for each request, from any thread."""

    def __init__(
        self,
        folder: Path,
        settings: Settings | None = None,
        port: int = 0,
        store: str = "",
        say: Say = lambda line: None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.ExitStack() as undo:
            self._lock = _lock(self.folder)
            undo.callback(os.close, self._lock)
            self._told = self.folder / "emulator.json"
            self._told.unlink(missing_ok=True)  # of one that was killed: its process id may be anybody's
            self.state = State(self.folder)
            undo.callback(self.state.close)
            self.settings = settings or Settings()
            self.account = Account.of(self.state)
            self._obs: ObsServer | None = None
            self._objects = self._open_store(store, os.environ if environ is None else environ)
            undo.callback(self._close_store)
            self.faults = Faults()
            runner = Runner(self.folder, self._objects, self.settings)
            lifecycle = Lifecycle(self.state, runner, self._objects, self.faults, self.settings, say)
            self.house = House(self.settings, self.account, self.state, self._objects, runner, self.faults, lifecycle)
            self._socket = _bound(port or int(self.state.note("port", 0)), strict=bool(port))
            undo.callback(self._socket.close)
            self.port: int = self._socket.getsockname()[1]
            self.state.keep("port", self.port)
            self.endpoint = f"http://{HOST}:{self.port}"
            self._transports: dict[tuple[str, int], Any] = {}
            self.app = App(self.house, self._transports, say)
            self._serve, self._stop = _server(self.app, self._socket, self._transports)
            undo.pop_all()
        self._thread = threading.Thread(target=self._serve, name="modelarts", daemon=True)

    def __enter__(self) -> Emulator:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Serve; connections already queue up since the object was made."""
        self._objects.make_bucket(self.settings.bucket)
        self.house.lifecycle.start()
        self._thread.start()
        told = {"pid": os.getpid(), "endpoint": self.endpoint, "environment": self.environment()}
        beside = self._told.with_suffix(".tmp")
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(told, file)
        beside.replace(self._told)

    def close(self) -> None:
        """Stop serving. Jobs that run go on, and the next emulator on this state takes them up."""
        self._stop()
        self._thread.join()
        self.house.lifecycle.close()
        self._close_store()
        self.state.close()
        self._told.unlink(missing_ok=True)
        os.close(self._lock)

    def set_faults(self, faults: Any) -> None:
        """As a PUT of /_emulator/faults does; ValueError names what cannot be."""
        self.faults.set(faults, self.app.names)

    def seed(self, count: int) -> str:
        """As a PUT of /_emulator/seed does; the names of the jobs."""
        return seed(self.state, count)

    def environment(self) -> dict[str, str]:
        """The variables by which clients (the official SDKs, obsutil, the launcher) find this emulator."""
        store = self._objects.settings
        keys = {"OBS_ACCESS_KEY_ID": store.access_key, "OBS_SECRET_ACCESS_KEY": store.secret_key}
        return {
            "LAUNCHER_MODELARTS_ENDPOINT": self.endpoint,
            "LAUNCHER_IAM_ENDPOINT": self.endpoint,
            "HUAWEICLOUD_SDK_IAM_ENDPOINT": self.endpoint,
            "HUAWEICLOUD_SDK_AK": self.account.access_key,
            "HUAWEICLOUD_SDK_SK": self.account.secret_key,
            "HUAWEICLOUD_SDK_PROJECT_ID": self.account.project_id,
            "LAUNCHER_REGION": self.settings.region,
            "LAUNCHER_BUCKET": self.settings.bucket,
            "OBS_ENDPOINT": store.url,
            **(keys if self._obs is not None else {}),  # who named another store has its keys
            "OBS_SIGNATURE": store.signed_as,
            "OBS_ADDRESSING": "path",
        }

    def _open_store(self, store: str, environ: Mapping[str, str]) -> Objects:
        if store:
            access, secret = environ.get("OBS_ACCESS_KEY_ID", ""), environ.get("OBS_SECRET_ACCESS_KEY", "")
            if not access or not secret:
                raise LauncherError(
                    f"there are no keys for {store}", "set OBS_ACCESS_KEY_ID and OBS_SECRET_ACCESS_KEY to the store's"
                )
            token = environ.get("OBS_SECURITY_TOKEN", "")
            settings = ObsSettings(
                endpoint=store,
                region=self.settings.region,
                access_key=access,
                secret_key=secret,
                token=token,
                addressing="path",
                signature=environ.get("OBS_SIGNATURE", "") or "auto",
            )
            return Objects(settings)
        keys = {self.account.access_key: ObsAccount(self.account.secret_key)}
        lent: list[list[Any]] = [job.keys for job in self.state.active() if job.keys]
        lent += [[key, *more] for key, more in self.state.note("temporary", {}).items()]
        for access, secret, token, *expires in lent:  # before the first request: jobs that run do not wait for us
            keys[access] = ObsAccount(secret, token=token, expires=expires[0] if expires else 0)
        before = int(self.state.note("store port", 0))
        try:
            self._obs = ObsServer(self.folder / "buckets", before, keys, location=self.settings.region)
        except OSError:  # somebody has the port; jobs that still run will not find the store again
            self._obs = ObsServer(self.folder / "buckets", 0, keys, location=self.settings.region)
        self.state.keep("store port", self._obs.port)
        self._obs.start()
        settings = ObsSettings(
            endpoint=self._obs.endpoint,
            region=self.settings.region,
            access_key=self.account.access_key,
            secret_key=self.account.secret_key,
            addressing="path",
            signature="obs",
        )
        return Objects(settings, self._obs)

    def _close_store(self) -> None:
        self._objects.close()
        if self._obs is not None:
            self._obs.stop()


def _lock(folder: Path) -> int:
    """The state folder's lock; Busy if another emulator has it."""
    ends = time.monotonic() + PROBED_SECONDS
    while (descriptor := take(folder / "lock")) is None:
        if time.monotonic() > ends:
            raise busy(folder)
        time.sleep(0.01)
    return descriptor


def _bound(port: int, strict: bool) -> socket.socket:
    """A listening socket of the loopback; on another port if that one is taken, unless it was asked for."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
    except OSError as error:
        if strict:
            found.close()
            raise LauncherError(f"port {port}: {error.strerror}", "choose another with --port") from None
        found.bind((HOST, 0))
    found.listen(256)
    return found


def _server(app: App, listener: socket.socket, transports: dict[tuple[str, int], Any]) -> Any:
    """What serves until the other function is called."""
    try:
        import uvicorn
        from uvicorn.protocols.http.h11_impl import H11Protocol
    except ImportError:
        raise LauncherError(
            "the emulator needs uvicorn, which is not installed", "pip install 'modelarts-launcher[emulator]'"
        ) from None

    class Protocol(H11Protocol):
        """Notes each connection's transport, so that a fault can reset it."""

        def connection_made(self, transport: Any) -> None:
            self.peer = transport.get_extra_info("peername")
            transports[self.peer] = transport
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            transports.pop(self.peer, None)
            super().connection_lost(exc)

    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        date_header=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)

    def stop() -> None:
        server.should_exit = True

    return lambda: server.run(sockets=[listener]), stop
