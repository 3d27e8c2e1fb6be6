"""One host over ssh, with ssh's own configuration and keys; never a password.

A `Conversation` is one ssh process with ``entrypoints/device_agent.py`` at its other end: requests and answers are
lines of JSON, files follow as bytes. Nothing is left on the host by a conversation that breaks but what the next one
goes on from.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shlex
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import msgspec

from launcher.devices.errors import HostError
from launcher.errors import UsageError
from launcher.jobs import HOUSE
from storage.files import hash_file, replacing
from storage.retry import waiting
from storage.urls import check_key

AGENT = HOUSE / "entrypoints" / "device_agent.py"
BOOTSTRAP = "import sys;f=sys.stdin.buffer;exec(compile(f.read(int(f.readline())),'agent','exec'))"
"""What the host's Python is started with: it reads the agent's length and text, and becomes it."""
MARK = b"@launcher "
CHUNK = 1 << 18
CONNECT_SECONDS = 15
NO_ANSWER_SECONDS = 30
PARTING_SECONDS = 10
START_SECONDS = 60
"""From the call of ssh to the first answer: connection, login, start of Python. What a login script waits for may never
come."""

_HOST = re.compile(r"(?![-.]*$)[^-\s'`\"$;&<>|(){},][^\s'`\"$;&<>|(){},]*")
"""What ssh itself takes for one; and no name made of dots, which would be another folder."""
_PASSWORD = re.compile(r"(ssh://)?[^@/]*:(?!//).*@")

Advance = Callable[[int], None]


class Ssh(msgspec.Struct, frozen=True):
    """How ssh is called; what is empty is left to ssh's own configuration."""

    host: str
    config: str = ""
    port: int = 0
    jump: str = ""
    python: str = "python3"

    def __post_init__(self) -> None:
        for host, hint in ((self.host, "HOST is a name of ~/.ssh/config, or user@address"), *self._jumps()):
            if _PASSWORD.match(host):
                raise UsageError("a password has no place on a command line", "ssh-copy-id once, and then USER@HOST")
            if not _HOST.fullmatch(host) or "@-" in host:
                raise UsageError(f"{host!r} is no host", hint)
        if self.config and not Path(self.config).is_file():
            raise UsageError(f"there is no ssh configuration {self.config}", "--ssh-config FILE")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"--port {self.port}: from 1 to 65535", "--port 22")

    def _jumps(self) -> list[tuple[str, str]]:
        return [(host, "--jump USER@HOST") for host in self.jump.split(",")] if self.jump else []

    def words(self) -> list[str]:
        """The command line. BatchMode: a key or nothing."""
        options = [
            "BatchMode=yes",
            f"ConnectTimeout={CONNECT_SECONDS}",
            "ServerAliveInterval=10",
            f"ServerAliveCountMax={NO_ANSWER_SECONDS // 10}",
        ]
        words = ["ssh", "-T", *(word for option in options for word in ("-o", option))]
        return [*words, *self._flags(), "--", self.host, f"{shlex.quote(self.python)} -c {shlex.quote(BOOTSTRAP)}"]

    def by_hand(self) -> str:
        """The command that a person would log in with."""
        return shlex.join(["ssh", *self._flags(), self.host])

    def _flags(self) -> list[str]:
        words = ["-F", self.config] if self.config else []
        words += ["-p", str(self.port)] if self.port else []
        return [*words, *(["-J", self.jump] if self.jump else [])]


class Conversation:
    """A context manager around one ssh process. HostError, in the user's words, for whatever goes wrong with it."""

    def __init__(self, ssh: Ssh) -> None:
        self.ssh = ssh
        self._answered = False
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed on exit
        try:
            self._process = subprocess.Popen(
                ssh.words(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr
            )
        except FileNotFoundError:
            raise HostError("ssh is not installed on this machine", "install openssh-client") from None
        self._is_late = False
        self._limit = threading.Timer(START_SECONDS, self._give_up)
        self._limit.daemon = True
        self._limit.start()
        agent = AGENT.read_bytes()
        try:
            self._send(b"%d\n%s" % (len(agent), agent))
        except BaseException:
            self.close()
            raise

    def _give_up(self) -> None:
        self._is_late = True
        self._process.kill()

    def __enter__(self) -> Conversation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            self._process.kill()
        self.close()

    def close(self) -> None:
        """End it; the host notices by itself."""
        self._limit.cancel()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # what was not sent any more
                stream.close() if stream else None
        try:
            self._process.wait(timeout=PARTING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.close()

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """One request, one answer."""
        with contextlib.nullcontext() if self._answered else waiting(self.ssh.host, tries=1):
            self._send((json.dumps({"do": do, **request}) + "\n").encode())
            return self._answer()

    def put(
        self, folder: str, release: str, files: Mapping[str, Path], advance: Advance, scratch: bool = False
    ) -> dict[str, Any]:
        """Bring files to FOLDER/releases/RELEASE, verified there; only what is missing goes over the wire. ``scratch``:
        the folder is removed when the conversation ends, however it does."""
        listed = [(path, source.stat().st_size, hash_file(source)) for path, source in sorted(files.items())]
        for path, _, _ in listed:
            check_key(path)
        offsets = self.ask("receive", folder=folder, release=release, files=listed, scratch=scratch)["offsets"]
        for (path, size, _), offset in zip(listed, offsets, strict=True):
            advance(offset)
            with open(files[path], "rb") as source:
                source.seek(offset)
                while offset < size:
                    chunk = source.read(min(CHUNK, size - offset))
                    if not chunk:
                        raise HostError(f"{files[path]} shrank while it was sent", "run the same command again")
                    self._send(chunk)
                    offset += len(chunk)
                    advance(len(chunk))
        return self._answer()

    def fetch(self, folder: str, target: Path) -> list[str]:
        """Bring all files of a folder into ``target``, which exists; each appears when it has its sha256."""
        files = self.ask("send", folder=folder)["files"]
        for path, size, sha256 in files:
            place = target / check_key(path)
            with replacing(str(place)) as stream:
                left, found = size, hashlib.sha256()
                while left:
                    chunk = self._stdout.read(min(CHUNK, left))
                    if not chunk:
                        raise self._broken()
                    stream.write(chunk)
                    found.update(chunk)
                    left -= len(chunk)
                if found.hexdigest() != sha256:
                    raise HostError(f"{path} did not arrive from {self.ssh.host} as it was sent", "run it again")
        self._answer()
        return [path for path, _, _ in files]

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None  # for the type checker: it was made with a pipe
        return self._process.stdout

    def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except OSError:
            said = self._last_words()
            raise said from None

    def _answer(self) -> dict[str, Any]:
        for line in self._stdout:
            if line.startswith(MARK):
                answer: dict[str, Any] = json.loads(line[len(MARK) :])
                self._answered = True
                self._limit.cancel()
                if "error" in answer:
                    raise HostError(f"{self.ssh.host}: {answer['error']}", answer["hint"])
                return answer
        raise self._broken()

    def _last_words(self) -> HostError:
        """Why the host does not listen any more: what it said before that, if anything."""
        try:
            self._answer()
        except HostError as error:
            return error
        return self._broken()

    def _broken(self) -> HostError:
        code = self._process.wait()
        if self._is_late and not self._answered:
            words = f"{self.ssh.by_hand()} {shlex.quote(self.ssh.python)} --version"
            raise HostError(
                f"{self.ssh.host} has not started {self.ssh.python} within {START_SECONDS} s",
                f"does its login wait for something? try: {words}",
            )
        self._stderr.seek(0)
        return failure(self.ssh, code, self._stderr.read().decode("utf-8", "replace"), self._answered)


FAILURES: Sequence[tuple[str, str, str]] = (
    ("remote host identification has changed", "{host} has another key than the one known here",
     "ask its owner why; if that is in order: ssh-keygen -R {host}"),
    ("Could not resolve hostname", "{host} has no address", "look at the name, or at HostName in ssh's configuration"),
    ("Host key verification failed", "{host} has a key that is not known here, or not the one that is known",
     "{by_hand} once, and compare the key that it shows"),
    ("Permission denied", "{host} takes none of your keys", "ssh-copy-id, or set IdentityFile for it; try {by_hand}"),
    ("Connection refused", "{host} does not answer: nothing listens at that port", "is sshd running? try {by_hand}"),
    ("No route to host", "{host} cannot be reached from here", "look at the cable and the address; try {by_hand}"),
    ("Network is unreachable", "{host} cannot be reached from here", "look at the network; try {by_hand}"),
    ("timed out", "{host} does not answer", "is it on? look at the address; try {by_hand}"),
    ("Bad owner or permissions", "ssh refuses its configuration", "chmod 600 the file that it names"),
    ("Bad configuration option", "ssh refuses its configuration", "mend the line that it names; try {by_hand}"),
)  # fmt: skip
"""What ssh says -> what that means, what mends it."""


def failure(ssh: Ssh, code: int, said: str, answered: bool = False) -> HostError:
    """An ended conversation, in the user's words. ``answered``: it had begun, so it is no matter of keys or names; a
    host's banner, which is in ``said`` too, may speak of such things."""
    words = {"host": ssh.host, "by_hand": ssh.by_hand()}
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for mark, message, hint in () if answered or code != 255 else FAILURES:
        line = next((line for line in reversed(lines) if mark.lower() in line.lower()), "")
        if line:
            return HostError(f"{message.format(**words)} ({line})", hint.format(**words))
    last = f" ({lines[-1]})" if lines else ""
    if code in (126, 127) or "not found" in last:
        return HostError(f"{ssh.host} has no {ssh.python}{last}", "--python PATH of a Python 3.7 or later there")
    if code == 255 or not lines:
        return HostError(
            f"the connection to {ssh.host} broke{last}", "run the same command again: deploy goes on from there"
        )
    return HostError(f"{ssh.host} ended with {code}{last}", f"try {ssh.by_hand()}")
