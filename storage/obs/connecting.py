"""How a connection to the store is made: straight or through a proxy, with TLS or without."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Optional

from .errors import UNKNOWN
from .exchange import Line, patient
from .settings import ObsSettings, Proxy

if TYPE_CHECKING:
    import ssl


def connect(settings: ObsSettings, host: str, port: int, context: Optional[ssl.SSLContext]) -> Line:
    """A connection to `host`; with a context it is a TLS one, and the certificate must be the host's."""
    proxy = settings.proxied
    place = (host, port) if proxy is None else (proxy.host, proxy.port)
    try:
        connected = socket.create_connection(place, settings.timeout)
    except OSError as error:  # which does not say of whom it speaks
        told = f"{place[0]}:{place[1]}: {error.strerror or error}"
        if isinstance(error, socket.gaierror):
            told = f"{place[0]} {UNKNOWN}"
        if error.errno is None:
            error.args = (told,)
        else:
            error.strerror = told
        raise
    try:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if proxy is not None:
            _tunnel(connected, f"{host}:{port}", _login(proxy))
        if context is not None:
            connected = context.wrap_socket(connected, server_hostname=host)
        else:
            patient(connected, settings.timeout)
    except BaseException:
        connected.close()
        raise
    return Line(connected)


def tls_context(settings: ObsSettings) -> ssl.SSLContext:
    """Certificates and host names are always checked."""
    import ssl  # not free to import, and not needed for every store

    context = ssl.create_default_context()
    if settings.ca_file:
        context.load_verify_locations(settings.ca_file)
    return context


def _tunnel(connected: socket.socket, place: str, login: str) -> None:
    """Ask the proxy to lead on to the store. What it says about a refusal is not read: it may be long."""
    line = Line(connected)
    line.ask("CONNECT", f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{login}\r\n".encode("latin-1"))
    if not 200 <= line.status < 300:
        raise ConnectionError(f"the proxy does not lead on to {place}: {line.status}")


def _login(proxy: Proxy) -> str:
    """The header by which the proxy knows us."""
    if proxy.user is None:
        return ""
    import base64

    login = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
    return f"Proxy-Authorization: Basic {login}\r\n"
