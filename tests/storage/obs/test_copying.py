"""Copies of objects that are too large for one request."""

from __future__ import annotations

import os
from typing import Any

import pytest

from launcher.emulator.obs import Fault, Kind
from storage.base import ObjectInfo
from storage.errors import Corrupt, NotFound
from storage.obs import multipart
from tests.storage.obs.conftest import Place

PART = 1 << 20
DATA = os.urandom(4 * PART + 7)


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.obs.bucket.COPY_SINGLE", PART)
    monkeypatch.setattr(multipart, "COPIED_PART", PART)


def content(place: Place, key: str) -> bytes:
    with place.bucket.read(key) as stream:
        return stream.read()


@pytest.mark.parametrize("key", ["source", "数 据/a?b+c%20d"])
def test_a_copy_in_parts_is_the_same(place: Place, key: str) -> None:
    place.bucket.write(key, DATA)
    copied = place.bucket.copy(key, "target")
    assert (copied.size, copied.sha256) == (len(DATA), place.bucket.stat(key).sha256)
    assert content(place, "target") == DATA
    assert place.leftovers == 0


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("CopyPart", Kind.COMPLETE_ERROR),
        ("CopyPart", Kind.INTERNAL_ERROR),
        ("CopyPart", Kind.LOST_REPLY),
        ("CompleteMultipartUpload", Kind.COMPLETE_ERROR),
        ("CompleteMultipartUpload", Kind.COMPLETE_GONE),
    ],
)
def test_a_copy_in_parts_gets_over_what_passes(place: Place, operation: str, kind: Kind) -> None:
    """Even if the store knows no sha256 by which to recognize it."""
    place.bucket.write("source", DATA)
    info = place.bucket.stat("source")
    place.server.faults.once(operation, Fault(kind))
    multipart.copy(place.bucket, ObjectInfo("source", info.size, info.mtime, info.etag), "target")
    assert content(place, "target") == DATA
    assert place.server.faults.injected[kind] == 1
    assert place.leftovers == 0


@pytest.mark.parametrize(("newer", "error"), [(DATA[::-1], Corrupt), (DATA + b"x", Corrupt), (None, NotFound)])
def test_an_object_that_is_replaced_while_it_is_copied_is_not_mixed(
    place: Place, monkeypatch: pytest.MonkeyPatch, newer: bytes | None, error: type[Exception]
) -> None:
    place.bucket.write("source", DATA)
    place.bucket.write("target", b"older")
    call, copied = place.bucket.channel.call_once, 0

    def meanwhile(what: str, action: str, name: str, *args: Any, **kwargs: Any) -> Any:
        nonlocal copied
        answer = call(what, action, name, *args, **kwargs)
        if name == "copyPart":
            copied += 1
            if copied == 2:
                place.bucket.delete(["source"]) if newer is None else place.bucket.write("source", newer)
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(place.bucket.channel, "call_once", meanwhile)
        with pytest.raises(error):
            place.bucket.copy("source", "target")
    assert content(place, "target") == b"older"
    assert place.leftovers == 0
