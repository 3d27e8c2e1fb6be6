"""Each fault does what it says, once, and is counted; a server with faults still ends cleanly."""

from __future__ import annotations

import base64
import gc
import hashlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from obs import CompleteMultipartUploadRequest, CompletePart, ObsClient, PutObjectHeader

from launcher.emulator.obs import Fault, Faults, Kind, ObsServer
from tests.emulator.obs.conftest import Client
from tests.servers.emulated import serving

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""The SDK leaves the socket of a request that breaks to the garbage collector."""

DATA = bytes(range(256)) * 1000


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What the SDK leaves is collected here, and not during some other test."""
    yield
    gc.collect()


def put(sdk: ObsClient, data: bytes = DATA, **headers: object) -> int:
    """The status of one upload."""
    return int(sdk.putContent("bucket", "key", data, headers=PutObjectHeader(**headers)).status)


def stored(server: ObsServer) -> bytes | None:
    path = server.store.root / "bucket" / "key"
    return path.read_bytes() if path.exists() else None


def get(sdk: ObsClient) -> bytes:
    return bytes(sdk.getObject("bucket", "key", loadStreamInMemory=True).body.buffer)


def bits_apart(one: bytes, other: bytes) -> int:
    assert len(one) == len(other)
    return sum(bin(a ^ b).count("1") for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("after", [0, 1000, len(DATA) - 1, len(DATA), 10 * len(DATA)])
def test_reset_ends_an_upload_that_then_never_was(server: ObsServer, sdk: ObsClient, after: int) -> None:
    server.faults.once("PutObject", Fault(Kind.RESET, after=after))
    with pytest.raises(ConnectionError):
        put(sdk)
    assert stored(server) is None
    assert put(sdk) == 200
    assert server.faults.injected == {Kind.RESET: 1}


@pytest.mark.parametrize("after", [0, 1000, len(DATA) - 1])
def test_truncated_gives_less_than_it_promises(server: ObsServer, sdk: ObsClient, after: int) -> None:
    put(sdk)
    server.faults.once("GetObject", Fault(Kind.TRUNCATED, after=after))
    answer = sdk.getObject("bucket", "key")
    assert answer.body.contentLength == len(DATA)
    try:
        got = answer.body.response.read()
    except http.client.IncompleteRead as error:
        got = error.partial
    assert got == DATA[:after]
    assert get(sdk) == DATA


def test_a_bit_flipped_on_the_way_in_is_stored_unless_there_is_a_digest(server: ObsServer, sdk: ObsClient) -> None:
    md5 = base64.b64encode(hashlib.md5(DATA).digest()).decode()
    server.faults.once("PutObject", Fault(Kind.FLIPPED_UPLOAD, after=100), times=3)
    assert put(sdk, md5=md5) == put(sdk, sha256=hashlib.sha256(DATA).hexdigest()) == 400
    assert stored(server) is None
    assert put(sdk) == 200
    assert bits_apart(stored(server) or b"", DATA) == 1
    etag = sdk.getObjectMetadata("bucket", "key").body.etag
    assert etag == f'"{hashlib.md5(stored(server) or b"").hexdigest()}"'


def test_a_lying_disk_deceives_the_server_itself(server: ObsServer, sdk: ObsClient) -> None:
    md5 = base64.b64encode(hashlib.md5(DATA).digest()).decode()
    server.faults.once("PutObject", Fault(Kind.LYING_DISK, after=100_000))
    assert put(sdk, md5=md5) == 200
    assert sdk.getObjectMetadata("bucket", "key").body.etag == f'"{hashlib.md5(DATA).hexdigest()}"'
    assert bits_apart(get(sdk), DATA) == 1


def test_a_bit_flipped_on_the_way_out_leaves_the_object_whole(server: ObsServer, sdk: ObsClient) -> None:
    put(sdk)
    server.faults.once("GetObject", Fault(Kind.FLIPPED_DOWNLOAD, after=len(DATA) + 5))
    assert bits_apart(get(sdk), DATA) == 1
    assert get(sdk) == DATA


@pytest.mark.parametrize(
    ("fault", "status", "code", "header"),
    [
        (Fault(Kind.INTERNAL_ERROR), 500, "InternalError", None),
        (Fault(Kind.SLOW_DOWN), 503, "SlowDown", None),
        (Fault(Kind.TIMEOUT_408), 408, "RequestTimeout", None),
        (Fault(Kind.TOO_MANY, seconds=0.5), 429, "TooManyRequests", ("qos-delay-time", "500")),
        (Fault(Kind.REQUEST_TIMEOUT), 400, "RequestTimeout", None),
        (Fault(Kind.SKEWED), 403, "RequestTimeTooSkewed", None),
        (Fault(Kind.EXPIRED_TOKEN), 403, "ExpiredToken", None),
    ],
)
def test_an_error_is_answered_and_nothing_done(
    server: ObsServer, sdk: ObsClient, fault: Fault, status: int, code: str, header: tuple[str, str] | None
) -> None:
    server.faults.once("*", fault)
    answer = sdk.putContent("bucket", "key", DATA)
    assert (answer.status, answer.errorCode) == (status, code)
    names = dict(answer.header)
    assert header is None or any(name.endswith(header[0]) and names[name] == header[1] for name in names)
    assert stored(server) is None and put(sdk) == 200


def test_a_busy_server_may_say_when_to_come_back(server: ObsServer) -> None:
    """Asked without the SDK, which hides this header from its callers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    found = []
    for seconds in (3, 0):
        server.faults.once("*", Fault(Kind.SLOW_DOWN, seconds=seconds))
        connection.request("GET", "/")
        answer = connection.getresponse()
        found.append((answer.status, answer.headers["Retry-After"], b"<Code>SlowDown</Code>" in answer.read()))
    connection.close()
    assert found == [(503, "3", True), (503, None, True)]


def test_a_lost_reply_leaves_the_work_done(server: ObsServer, sdk: ObsClient) -> None:
    server.faults.once("PutObject", Fault(Kind.LOST_REPLY))
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        put(sdk)
    assert stored(server) == DATA


def test_a_slow_answer_comes_whole_but_late(server: ObsServer, sdk: ObsClient) -> None:
    put(sdk)
    server.faults.once("GetObject", Fault(Kind.SLOW, seconds=0.4))
    begun = time.monotonic()
    assert get(sdk) == DATA
    assert time.monotonic() - begun >= 0.35


def test_silence_lasts_until_the_client_gives_up(server: ObsServer, client: Client) -> None:
    sdk = client(timeout=0.3)
    sdk.createBucket("bucket")
    server.faults.once("PutObject", Fault(Kind.SILENT))
    with pytest.raises(TimeoutError):
        put(sdk)
    assert stored(server) is None and server.faults.injected == {Kind.SILENT: 1}


def completion(sdk: ObsClient) -> Callable[[], object]:
    upload = sdk.initiateMultipartUpload("bucket", "key").body.uploadId
    etag = sdk.uploadPart("bucket", "key", 1, upload, object=DATA).body.etag
    parts = CompleteMultipartUploadRequest([CompletePart(1, etag)])
    return lambda: sdk.completeMultipartUpload("bucket", "key", upload, parts)


def test_a_completion_may_say_200_and_mean_an_error(server: ObsServer, sdk: ObsClient) -> None:
    complete = completion(sdk)
    server.faults.once("CompleteMultipartUpload", Fault(Kind.COMPLETE_ERROR))
    answer = complete()
    assert answer.status == 200 and answer.body.etag is None  # type: ignore[attr-defined]
    assert stored(server) is None
    complete()
    assert stored(server) == DATA


def test_a_completion_may_say_404_and_be_done(server: ObsServer, sdk: ObsClient) -> None:
    complete = completion(sdk)
    server.faults.once("CompleteMultipartUpload", Fault(Kind.COMPLETE_GONE))
    answer = complete()
    assert (answer.status, answer.errorCode) == (404, "NoSuchUpload")  # type: ignore[attr-defined]
    assert stored(server) == DATA


def test_random_faults_hit_at_their_rate_and_are_the_same_for_a_seed() -> None:
    def drawn(seed: int) -> list[Fault | None]:
        faults = Faults.random(seed, rate=0.2)
        return [faults.draw("PutObject", f"key{index}", True, False) for index in range(5000)]

    first = drawn(1)
    assert first == drawn(1) != drawn(2)
    hits = [fault for fault in first if fault is not None]
    assert 850 < len(hits) < 1150
    kinds = {fault.kind for fault in hits}
    assert Kind.RESET in kinds and Kind.FLIPPED_UPLOAD in kinds
    assert kinds.isdisjoint({Kind.LYING_DISK, Kind.EXPIRED_TOKEN, Kind.COMPLETE_ERROR, Kind.FLIPPED_DOWNLOAD})


def test_no_request_meets_more_random_faults_in_a_row_than_agreed() -> None:
    faults = Faults.random(3, rate=0.99, most=3)
    row = longest = 0
    for _ in range(2000):
        row = row + 1 if faults.draw("GetObject", "the same", False, False) is not None else 0
        longest = max(longest, row)
    assert longest == 3


def test_stop_ends_those_who_wait_and_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    faults = Faults()
    with serving(tmp_path / "root", faults) as server:
        faults.once("*", Fault(Kind.SILENT), times=3)
        faults.once("*", Fault(Kind.SLOW, seconds=60), times=3)
        open_connections = []
        for _ in range(6):
            connection = http.client.HTTPConnection("127.0.0.1", server.port)
            connection.request("GET", "/")
            open_connections.append(connection)
        idle = http.client.HTTPConnection("127.0.0.1", server.port)
        idle.connect()
        while sum(faults.injected.values()) < 3:
            time.sleep(0.01)
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    assert threading.active_count() == before
    for connection in [*open_connections, idle]:
        connection.close()
