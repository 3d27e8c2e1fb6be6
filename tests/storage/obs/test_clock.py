"""A machine whose clock was wrong, or was set while requests were under way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.obs import ObsStorage
from storage.obs.wire import Reply
from tests.servers.emulated import serving

from .conftest import opened

HOURS = 7200.0


@pytest.fixture(params=[(wire, signature) for wire in ("direct", "sdk") for signature in ("obs", "v2")], ids="-".join)
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObsStorage]:
    """Whose next requests are dated two hours ahead of the store's clock."""
    wire, signature = request.param
    with serving(tmp_path / "root") as server, opened(server, wire=wire, signature=signature) as place:
        place.bucket.write("key", b"x")
        place.service.channel._pool.clock_ahead = place.service.channel.sdk.clock_ahead = HOURS
        yield place.bucket


def ahead(bucket: ObsStorage) -> float:
    return bucket.channel._pool.clock_ahead


def test_a_request_without_a_body_in_its_answer_sets_the_clock_too(bucket: ObsStorage) -> None:
    assert bucket.stat("key").size == 1
    assert abs(ahead(bucket)) < 60


def test_a_refusal_by_the_right_clock_leaves_it_as_it_is(bucket: ObsStorage) -> None:
    bucket.write("key", b"y")
    right = ahead(bucket)
    assert abs(right) < 60
    assert bucket.stat("key").size == 1
    assert ahead(bucket) == right


def test_requests_that_were_under_way_when_the_clock_was_set_are_sent_again(
    bucket: ObsStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = 8
    head, refused = bucket.wire.head, threading.Barrier(many)
    seen = threading.local()
    errors: list[BaseException] = []

    def together(key: str) -> Reply:
        reply = head(key)
        if not hasattr(seen, "first"):
            seen.first = True
            refused.wait(60)  # none is judged before all have been answered
        return reply

    def ask() -> None:
        try:
            assert bucket.stat("key").size == 1
        except BaseException as error:
            errors.append(error)

    monkeypatch.setattr(bucket.wire, "head", together)
    threads = [threading.Thread(target=ask) for _ in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
