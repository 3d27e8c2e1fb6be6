"""A person sees within a second what is being waited for; whoever reads JSON does not. A host that nobody knows is not
waited for as long as one that broke off."""

from __future__ import annotations

import io
import re
import socket
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

import pytest

import launcher.waiting
from launcher.errors import ServiceError
from launcher.modelarts.client import Client
from launcher.output import Output
from storage.errors import Unreachable
from storage.obs import ObsService, ObsSettings
from storage.retry import TRIES, UNKNOWN_TRIES, WAITS, waiting

from .conftest import Rig
from .test_client import JOB, Canned, canned, place

__all__ = ["canned"]


class Names:
    """The resolver: counts questions after a host of this cloud, and knows it or not."""

    def __init__(self) -> None:
        self.asked = 0
        self.known = False


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, quick: None) -> Iterator[Names]:
    found, real = Names(), socket.getaddrinfo

    def getaddrinfo(host: Any, *rest: Any, **more: Any) -> Any:
        if not str(host).endswith(".example"):
            return real(host, *rest, **more)
        found.asked += 1
        if not found.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real("127.0.0.1", *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield found


def test_a_host_that_nobody_knows_is_given_up_soon_and_an_outage_is_not(names: Names, canned: Canned) -> None:
    port = canned.url.rpartition(":")[2]
    client = Client(place(f"http://cloud.example:{port}"))
    canned.says((200, JOB, {"Connection": "close"}))
    with pytest.raises(ServiceError, match=f"cloud.example:{port} is not a known host"):
        client.job("j1")
    assert names.asked == UNKNOWN_TRIES < TRIES
    names.known = True
    assert client.job("j1") == JOB
    client.close()
    names.known, names.asked, client.wire._http = False, 0, None
    with pytest.raises(ServiceError):
        client.job("j1")
    assert names.asked == TRIES, "it has answered before: the network is down for a while"


def test_so_it_is_with_obs_which_names_the_host(names: Names, canned: Canned) -> None:
    port = canned.url.rpartition(":")[2]
    settings = ObsSettings(f"http://obs.example:{port}", access_key="a", secret_key="b", addressing="path")
    service = ObsService(settings)
    canned.says((200, b"", {"Connection": "close"}))
    with pytest.raises(Unreachable, match=r"obs\.example is not a known host"):
        service.bucket("bucket").stat("key")
    assert names.asked == UNKNOWN_TRIES
    names.known = True
    service.bucket("bucket").stat("key")
    names.known, names.asked = False, 0
    with pytest.raises(Unreachable):
        service.bucket("bucket").stat("key")
    assert names.asked == TRIES
    service.close()


def test_a_proxy_that_is_not_there_is_not_taken_for_the_host(names: Names) -> None:
    client = Client(place("http://cloud.example", proxy="http://me:hidden@proxy.example:80"))
    with pytest.raises(ServiceError, match=r"the proxy proxy\.example is not a known host") as caught:
        client.job("j1")
    assert "hidden" not in str(caught.value)


class Heard(io.StringIO):
    """A stream that says when it has been written to."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def write(self, text: str) -> int:
        count = super().write(text)
        self.written.set()
        return count


def test_a_wait_is_told_once_a_try_and_only_to_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher.waiting, "PATIENCE", 0.0)
    monkeypatch.setattr(launcher.waiting, "LOOK", 0.001)
    err = Heard()
    with launcher.waiting.told(Output("human", stderr=err)), waiting("host.example") as wait:
        assert err.written.wait(10)
        err.written.clear()
        wait.why, wait.failures = "it broke off", 1
        assert err.written.wait(10)
    first, second = err.getvalue().splitlines()
    assert first == f"waiting for host.example (try 1 of {TRIES})"
    assert second == f"it broke off; asking host.example again (try 2 of {TRIES})"
    before = threading.active_count()
    with launcher.waiting.told(Output("json")), launcher.waiting.told(Output("quiet")):
        assert threading.active_count() == before
    assert threading.get_ident() not in WAITS


def test_a_module_that_is_half_imported_has_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "storage.retry", types.ModuleType("storage.retry"))
    monkeypatch.setattr(launcher.waiting, "LOOK", 0.0)
    looks = iter([False, True])
    over = threading.Event()
    monkeypatch.setattr(over, "wait", lambda seconds: next(looks))
    launcher.waiting._watch(Output("human"), over)


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_a_command_tells_which_host_it_waits_for(modelarts: Rig, cli, monkeypatch, words: list[str]) -> None:
    monkeypatch.setattr(launcher.waiting, "PATIENCE", 0.05)
    monkeypatch.setattr(launcher.waiting, "LOOK", 0.01)
    modelarts.faults({"fault": "slow", "route": "list_training_jobs", "seconds": 1, "times": 1})
    answer = cli("runs", "--target", "modelarts", *words)
    assert answer.code == 0, answer
    told = re.search(r"^waiting for 127\.0\.0\.1:\d+ \(try 1 of \d\)$", answer.err, re.MULTILINE)
    assert bool(told) == (not words), answer
