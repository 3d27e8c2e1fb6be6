"""Proxies, as people write them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from storage.errors import InvalidUrl
from storage.obs import ObsService, ObsSettings
from storage.obs.settings import Proxy
from tests.servers.metadata import Metadata, serving_metadata


class _Proxy(Metadata, BaseHTTPRequestHandler):
    """Leads nowhere."""

    asked: list[tuple[str, str]]

    def do_CONNECT(self) -> None:
        type(self).asked.append((self.path, self.headers.get("Proxy-Authorization", "")))
        self.send_error(403)


@pytest.fixture
def proxy() -> Iterator[str]:
    """Its host and port."""
    _Proxy.asked = []
    with serving_metadata(_Proxy) as address:
        yield address.partition("://")[2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("proxy.corp:3128", Proxy("proxy.corp", 3128, None, "")),
        ("http://proxy.corp:3128/", Proxy("proxy.corp", 3128, None, "")),
        ("HTTP://proxy.corp", Proxy("proxy.corp", 8080, None, "")),
        ("me:pass%40word@10.0.0.1:80", Proxy("10.0.0.1", 80, "me", "pass@word")),
        ("http://[::1]:3128", Proxy("::1", 3128, None, "")),
        (" ", None),
        ("", None),
    ],
)
def test_a_proxy_is_read_as_people_write_it(text: str, expected: Proxy | None) -> None:
    assert ObsSettings(proxy=text).proxied == expected


@pytest.mark.parametrize(
    "text",
    ["socks5://me:pass-word@h:1080", "https://me:pass-word@h:443", "http://", ":3128", "http://h:port", "h:99999"],
)
@pytest.mark.parametrize("wire", ["direct", "sdk"])
def test_what_cannot_be_a_proxy_is_refused_without_its_password(text: str, wire: str) -> None:
    settings = ObsSettings(
        endpoint="https://obs.example.com", access_key="a", secret_key="b", proxy=text, wire=wire, timeout=2
    )
    with pytest.raises(InvalidUrl, match="proxy") as caught:
        ObsService(settings).bucket("bucket").stat("key")
    assert "OBS_PROXY" in caught.value.hint
    assert "pass-word" not in str(caught.value)


@pytest.mark.parametrize("wire", ["direct", "sdk"])
@pytest.mark.parametrize("scheme", ["", "http://"])
def test_a_proxy_is_asked_with_or_without_its_scheme(
    proxy: str, monkeypatch: pytest.MonkeyPatch, wire: str, scheme: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}me:pass@{proxy}")
    monkeypatch.setattr("storage.retry.FIRST_WAIT", 0.001)
    settings = ObsSettings.from_environment(
        endpoint="https://obs.example.com:8443", access_key="a", secret_key="b", wire=wire, addressing="path"
    )
    service = ObsService(settings)
    with pytest.raises(OSError, match="cannot look at"):
        service.bucket("bucket").stat("key")
    service.close()
    login = "Basic " + base64.b64encode(b"me:pass").decode()
    assert set(_Proxy.asked) == {("obs.example.com:8443", login)}
