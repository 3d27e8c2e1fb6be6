"""Models of a network that has seen a little, a home with its run, an sshd of the test's own."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from launcher.ledger import Ledger
from launcher.paths import Home
from launcher.run import Run
from tests.jobs.digits import write_digits

HOUSE = Path(__file__).resolve().parents[2]
DOUBLE = Path(__file__).resolve().parent / "double"
RUN = "lenet5-20260101-000000-aaaaa"
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))


@dataclass(frozen=True)
class Trained:
    """What lenet5.py has trained, and make_models.py has made of it."""

    data: Path
    output: Path
    models: Path

    @property
    def onnx(self) -> Path:
        return self.models / "lenet5.onnx"


def newest(output: Path) -> Path:
    """The newest checkpoint of a run's output."""
    entries = json.loads((output / "checkpoints" / "manifest.json").read_text())["checkpoints"]
    return output / "checkpoints" / str(entries[-1]["file"])


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    data = write_digits(folder / "MNIST", test=120)
    boot = [str(HOUSE / "entrypoints" / "lenet5.py"), f"--data_url={data}", f"--train_url={folder / 'output'}"]
    script = [str(Path(__file__).with_name("make_models.py")), str(data), str(folder)]
    env = {**os.environ, "PYTHONPATH": str(HOUSE)}
    for words in ([*boot, "--epochs=4", "--batch_size=16"], script):
        done = subprocess.run([sys.executable, *words], env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
    return Trained(data, folder / "output", folder / "models")


@pytest.fixture
def trained(trained_once: Trained, tmp_path: Path) -> Trained:
    """A copy that a test may damage."""
    for name in ("output", "models"):
        shutil.copytree(getattr(trained_once, name), tmp_path / "trained" / name)
    return Trained(trained_once.data, tmp_path / "trained" / "output", tmp_path / "trained" / "models")


@pytest.fixture
def home(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A project whose only run is the trained network, its output and its ONNX model at home; the working folder."""
    project = tmp_path / "project"
    (project / "jobs").mkdir(parents=True)
    monkeypatch.chdir(project)
    home = Home(project)
    with Ledger(home, create=True) as ledger:
        ledger.add(
            Run(
                id=RUN,
                job="lenet5",
                target="local",
                name=RUN,
                phase="Creating",
                created_at="2026-01-01T00:00:00.000Z",
                parameters={},
                output=f"obs://local/launcher/runs/{RUN}/output/",
            )
        )
        ledger.move(RUN, "Completed")
    shutil.copytree(trained.output, home.outputs / RUN)
    shutil.copytree(trained.models, home.outputs / RUN / "models")
    return home


@dataclass
class Board:
    """A host behind ssh on the loopback: ``board`` in a configuration of its own."""

    folder: Path
    environment: dict[str, str]
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    hosts: dict[str, tuple[int, str]] = field(default_factory=lambda: {"board": (0, "key")})
    """Name -> port, or 0 for the board's own, and the file of the user's key."""

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def journal(self) -> list[str]:
        """What was called of `acl` there."""
        path = self.folder / "journal"
        return path.read_text().split() if path.exists() else []

    def flags(self) -> list[str]:
        return ["-F", str(self.config), "--python", sys.executable]

    def know(self, host: str, port: int, key: str = "key") -> None:
        """Write a host into the user's configuration."""
        self.hosts[host] = (port, key)
        texts = [
            f"""Host {name}
  HostName 127.0.0.1
  Port {port or self.port}
  User {getpass.getuser()}
  IdentityFile {self.folder / key}
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {self.folder / "known_hosts"}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  HostKeyAlias board
"""
            for name, (port, key) in self.hosts.items()
        ]
        self.config.write_text("".join(texts))
        self.config.chmod(0o600)

    def start(self) -> None:
        """Start sshd, or start it again with another environment, at a port that nobody else takes meanwhile."""
        for _ in range(10):
            self.stop()
            self.port = free_port()
            if self._listens():
                self.know("board", 0)
                return
        raise AssertionError((self.folder / "sshd.log").read_text())

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def _listens(self) -> bool:
        config = self.folder / "sshd_config"
        config.write_text(f"""Port {self.port}
ListenAddress 127.0.0.1
HostKey {self.folder / "host_key"}
AuthorizedKeysFile {self.folder / "authorized_keys"}
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PermitRootLogin yes
PidFile none
PrintMotd no
SetEnv {" ".join(f"{name}={value}" for name, value in self.environment.items())}
""")
        assert SSHD
        with open(self.folder / "sshd.log", "ab") as log:
            command = [SSHD, "-D", "-e", "-f", str(config)]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as probe:
                return probe.recv(4) == b"SSH-" and self.process.poll() is None
            time.sleep(0.05)
        return False


def free_port() -> int:
    """A port that nobody listens at, below those that outgoing connections are given."""
    while True:
        port = random.randrange(15_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    """A device with CANN's doubles: `acl` is importable, `atc` on PATH."""
    if not SSHD or not shutil.which("ssh"):
        pytest.skip("openssh-server is not installed")
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # sshd of root insists on it
    folder = tmp_path / "board"
    (folder / "home").mkdir(parents=True)
    for name in ("host_key", "key", "wrong_key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    (folder / "authorized_keys").write_text((folder / "key.pub").read_text())
    (folder / "known_hosts").write_text("board " + (folder / "host_key.pub").read_text())
    environment = {
        "HOME": str(folder / "home"),
        "PATH": f"{DOUBLE / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONPATH": str(DOUBLE / "python"),
        "ACL_DOUBLE_JOURNAL": str(folder / "journal"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    board = Board(folder, environment)
    try:
        board.start()
        yield board
    finally:
        board.stop()


class Cutter:
    """A TCP proxy to the board that drops a connection, both ways, once `limit` bytes have gone to the board."""

    def __init__(self, port: int, limit: int) -> None:
        self.limit, self.passed = limit, 0
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """A mere close would leave the thread in its accept, from where it can take another socket's connections."""
        with contextlib.suppress(OSError):  # macOS: not connected
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            back = threading.Thread(target=self._pump, args=(server, client, False), daemon=True)
            back.start()
            self._pump(client, server, True)
            back.join()
            client.close()
            server.close()

    def _pump(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        try:
            while data := source.recv(65536):
                if counted:
                    self.passed += len(data)
                    if self.passed > self.limit:
                        break
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
