"""Answers that no good store gives, and that proxies and gateways make of good ones."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from storage.errors import BackendMissing, NotFound, Unreachable
from storage.obs import ObsService, ObsSettings, ObsStorage
from storage.retry import Transient, patiently
from tests.servers.emulated import serving
from tests.servers.metadata import Metadata, serving_metadata
from tests.servers.process import ACCESS_KEY, SECRET_KEY

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""The SDK leaves the socket of an answer that is not read to the garbage collector."""

OBJECT = b"hello world" * 1000


class _WithoutLength(Metadata, BaseHTTPRequestHandler):
    """An object whose first answers, `left` of them, do not say how long they are."""

    left = 0

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(OBJECT)

    def do_HEAD(self) -> None:
        self.send_response(200)
        if not type(self).left:
            self.send_header("Content-Length", str(len(OBJECT)))
        type(self).left = max(0, self.left - 1)
        self.end_headers()


@pytest.fixture(params=["direct", "sdk"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObsStorage]:
    monkeypatch.setattr("storage.retry.FIRST_WAIT", 0.001)
    with serving_metadata(_WithoutLength) as address:
        service = ObsService(ObsSettings(endpoint=address, access_key="a", secret_key="b", wire=request.param))
        yield service.bucket("bucket")
        service.close()
        gc.collect()


def test_an_answer_without_a_length_is_no_empty_object(bucket: ObsStorage, tmp_path: Path) -> None:
    older = tmp_path / "file"
    older.write_bytes(b"an older good file")
    _WithoutLength.left = 999
    for ask in (
        lambda: bucket.download("key", older),
        lambda: bucket.read("key"),
        lambda: bucket.stat("key"),
    ):
        with pytest.raises(Unreachable, match="how long") as caught:
            ask()
        assert caught.value.hint
    assert older.read_bytes() == b"an older good file"
    for ask in (lambda: bucket.download("key", older).size, lambda: bucket.stat("key").size):
        _WithoutLength.left = 1
        assert ask() == len(OBJECT)
    assert older.read_bytes() == OBJECT


@pytest.mark.parametrize("wire", ["direct", "sdk"])
@pytest.mark.parametrize("keys", [["one"], ["one", "two"]])
def test_what_is_deleted_from_no_bucket_is_not_found_and_no_object_is_fine(
    tmp_path: Path, wire: str, keys: list[str]
) -> None:
    with serving(tmp_path / "root") as server:
        settings = ObsSettings(endpoint=server.endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY, wire=wire)
        service = ObsService(settings)
        with pytest.raises(NotFound, match="NoSuchBucket") as caught:
            service.bucket("no-such-bucket").delete(keys)
        assert "storage mb" in caught.value.hint
        service.make_bucket("bucket")
        service.bucket("bucket").delete(keys)
        service.close()


def test_without_tenacity_a_glitch_is_told_with_what_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tenacity", None)

    def fail() -> None:
        raise Transient(Unreachable("the line broke"))

    with pytest.raises(BackendMissing, match="the line broke") as caught:
        patiently(fail)
    assert "tenacity" in caught.value.hint
