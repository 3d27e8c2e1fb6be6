"""One file over HTTP(S), with every wait bounded.

``urllib`` does proxies and redirects; the connection classes below give it what it lacks: a time-out for the name
look-up, a short one for the connection, another for silence. A server that trickles or never stops is left too.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.output import Progress

from .errors import SourceFailed

AGENT = "modelarts-launcher"


@dataclass(frozen=True)
class Limits:
    """How long to wait, in seconds.

    A web source that is not there costs at most ``connect`` for its name, ``connect`` for each of its addresses, and
    ``stall`` for the first byte. ``least`` bytes must come in every ``stall`` seconds. ``silence`` is for pip and npm:
    neither a line of output nor a byte in their folder.
    """

    connect: float = 3.0
    stall: float = 10.0
    least: int = 4096
    silence: float = 120.0


def download(url: str, target: Path, limit: int, limits: Limits, label: str, progress: Progress) -> None:
    """``url`` to the new file ``target``, at most ``limit`` bytes; ``SourceFailed`` says in a few words why not."""
    with _worded(limits):
        response = _opener(limits).open(urllib.request.Request(url, headers={"User-Agent": AGENT}))
    with response, open(target, "xb") as sink:
        total = _length(response)
        if total > limit:
            raise SourceFailed(f"would send {total:,} bytes, more than the {limit:,} this can be")
        with progress(label, total) as advance:
            done = 0
            for chunk in _chunks(response, limits):
                done += len(chunk)
                if done > limit:
                    raise SourceFailed(f"did not stop sending after {limit:,} bytes")
                sink.write(chunk)
                advance(len(chunk))
    if done < total:
        raise SourceFailed(f"broke off after {done:,} of {total:,} bytes")
    if _is_page(target):
        raise SourceFailed("sent a web page instead of the file")


def _chunks(response: Any, limits: Limits) -> Iterator[bytes]:
    """The body in the pieces in which it comes; too slow counts as stalled."""
    since, received = time.monotonic(), 0
    while True:
        with _worded(limits):
            chunk: bytes = response.read1(1 << 16)
        if not chunk:
            return
        received += len(chunk)
        if time.monotonic() - since > limits.stall:
            if received < limits.least:
                raise SourceFailed(f"sent only {received:,} bytes in {limits.stall:g} s")
            since, received = time.monotonic(), 0
        yield chunk


def _length(response: Any) -> int:
    """``Content-Length``, or 0 where there is none (or nonsense)."""
    text = response.headers.get("Content-Length") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def _is_page(path: Path) -> bool:
    with open(path, "rb") as stream:
        head = stream.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return head.startswith((b"<!doctype", b"<html", b"<?xml"))


@contextmanager
def _worded(limits: Limits) -> Iterator[None]:
    """The network's many exceptions in a few words. Only network calls belong inside: a full disk is no network."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise SourceFailed(f"answered {error.code} {error.reason}".rstrip()) from error
    except (TimeoutError, socket.timeout) as error:  # noqa: UP041 - two classes until 3.10
        raise SourceFailed(f"did not answer within {limits.stall:g} s") from error
    except urllib.error.URLError as error:
        raise SourceFailed(_reason(error.reason)) from error
    except http.client.HTTPException as error:
        raise SourceFailed(f"sent no proper HTTP ({type(error).__name__})") from error
    except OSError as error:
        raise SourceFailed(_reason(error)) from error


def _reason(error: object) -> str:
    if isinstance(error, SourceFailed):
        return str(error)
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(error, TimeoutError):
        return "cannot be reached: timed out"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be reached: {error.strerror}"
    return f"cannot be reached: {error}"


def _opener(limits: Limits) -> urllib.request.OpenerDirector:
    """An opener whose connections keep ``limits``."""

    def connect(connection: http.client.HTTPConnection, plain_connect: Any) -> None:
        _resolve(connection.host, connection.port, limits.connect)
        connection.timeout = limits.connect
        plain_connect()
        connection.sock.settimeout(limits.stall)

    class Plain(http.client.HTTPConnection):
        def connect(self) -> None:
            connect(self, super().connect)

    class Secure(http.client.HTTPSConnection):
        def connect(self) -> None:
            connect(self, super().connect)

    class PlainHandler(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Plain, req)

    class SecureHandler(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Secure, req)

    return urllib.request.build_opener(PlainHandler, SecureHandler)


def _resolve(host: str, port: int, seconds: float) -> None:
    """Look a name up in a thread that can be left: the system's resolver has no time-out of ours (often 20 s)."""
    result: list[OSError | None] = []

    def look_up() -> None:
        try:
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            result.append(None)
        except OSError as error:
            result.append(error)
        except UnicodeError as error:
            result.append(OSError(f"no proper host name ({error})"))

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(seconds)
    if not result:
        raise SourceFailed(f"its name was not resolved within {seconds:g} s")
    if result[0] is not None:
        raise result[0]
