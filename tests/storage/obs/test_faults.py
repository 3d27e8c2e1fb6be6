"""Every fault of the line and of the store, against the server that can make them: nothing torn, nothing lost."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.emulator.obs import Account, Fault, Kind
from storage.errors import AccessDenied, Corrupt, NoCredentials, NotFound, SourceChanged, Unreachable
from storage.obs import ObsService, ObsSettings
from tests.conftest import HOUSE
from tests.servers.emulated import serving
from tests.servers.process import ACCESS_KEY, SECRET_KEY

from .conftest import LARGE, PASSING, Place, opened

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""The SDK leaves the socket of a request that breaks to the garbage collector."""


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What the SDK leaves is collected here, and not during some other test."""
    yield
    gc.collect()


SMALL = bytes(range(256)) * 400


@pytest.fixture(params=["direct", "sdk"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    settings = {"signature": "obs", "wire": request.param, "timeout": 2}
    with serving(tmp_path / "root") as server, opened(server, **settings) as place:
        yield place


PASSING_BOTH_WAYS = [Fault(Kind.RESET, after=1000), Fault(Kind.FLIPPED_UPLOAD, after=77), *PASSING]


@pytest.mark.parametrize("fault", PASSING_BOTH_WAYS, ids=lambda fault: fault.kind.value)
def test_what_passes_is_got_over(place: Place, tmp_path: Path, fault: Fault) -> None:
    (tmp_path / "in").write_bytes(SMALL)
    operation = "GetObject" if fault.kind in (Kind.FLIPPED_DOWNLOAD, Kind.TRUNCATED) else "PutObject"
    place.faults.once(operation, fault)
    if operation == "PutObject" and fault.kind is not Kind.FLIPPED_UPLOAD:
        place.faults.once("GetObject", fault)
    place.bucket.upload(tmp_path / "in", "key")
    place.bucket.download("key", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == SMALL
    assert place.faults.injected[fault.kind] >= 1


@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        ("UploadPart", Fault(Kind.RESET, after=100_000)),
        ("UploadPart", Fault(Kind.FLIPPED_UPLOAD, after=5_000_000)),
        ("UploadPart", Fault(Kind.SLOW_DOWN)),
        ("UploadPart", Fault(Kind.LOST_REPLY)),
        ("InitiateMultipartUpload", Fault(Kind.INTERNAL_ERROR)),
        ("CompleteMultipartUpload", Fault(Kind.COMPLETE_ERROR)),
        ("CompleteMultipartUpload", Fault(Kind.COMPLETE_GONE)),
        ("CompleteMultipartUpload", Fault(Kind.LOST_REPLY)),
        ("GetObject", Fault(Kind.TRUNCATED, after=3_000_000)),
        ("GetObject", Fault(Kind.RESET)),
        ("GetObject", Fault(Kind.FLIPPED_DOWNLOAD, after=3_000_000)),
    ],
    ids=lambda value: value if isinstance(value, str) else value.kind.value,
)
def test_large_objects_get_over_it_too(place: Place, tmp_path: Path, large: Path, operation: str, fault: Fault) -> None:
    from storage.files import hash_file

    place.faults.once(operation, fault, times=2)
    known = hash_file(large)
    ticks: list[int] = []
    place.bucket.upload(large, "large", sha256=known, progress=ticks.append)
    assert sum(ticks) == LARGE
    assert place.bucket.download("large", tmp_path / "out").sha256 == known == hash_file(tmp_path / "out")
    assert place.faults.injected[fault.kind] >= 1
    assert list(place.service.leftovers("bucket")) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large", "out", "root"]


@pytest.mark.parametrize("size", [10 << 20, 40 << 20])
def test_parts_whose_sha256_nobody_knew_are_compared_with_their_etag(place: Place, tmp_path: Path, size: int) -> None:
    (tmp_path / "in").write_bytes(os.urandom(1 << 20) * (size >> 20))
    place.bucket.upload(tmp_path / "in", "key")
    assert place.bucket.wire.head("key").headers.get("x-obs-meta-sha256") is None
    place.faults.once("GetObject", Fault(Kind.FLIPPED_DOWNLOAD, after=3_000_000), times=2)
    place.bucket.download("key", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()
    assert place.faults.injected[Kind.FLIPPED_DOWNLOAD] >= 1


def test_a_fault_that_stays_ends_in_one_error_and_harms_nothing(place: Place, tmp_path: Path) -> None:
    place.bucket.write("key", b"older")
    (tmp_path / "file").write_bytes(b"older file")
    place.faults.once("PutObject", Fault(Kind.TIMEOUT_408), times=99)
    place.faults.once("GetObject", Fault(Kind.FLIPPED_DOWNLOAD, after=2), times=99)
    with pytest.raises(Unreachable) as caught:
        place.bucket.write("key", b"newer")
    assert "obs://bucket/key" in caught.value.message
    assert caught.value.hint
    with pytest.raises(Corrupt):
        place.bucket.download("key", tmp_path / "file")
    place.faults.clear()
    assert (tmp_path / "file").read_bytes() == b"older file"
    with place.bucket.read("key") as stream:
        assert stream.read() == b"older"


def test_a_disk_that_lies_is_caught_by_the_next_download(place: Place, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(SMALL)
    place.faults.once("PutObject", Fault(Kind.LYING_DISK, after=5))
    place.bucket.upload(tmp_path / "in", "key")
    with pytest.raises(Corrupt):
        place.bucket.download("key", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_wrong_clock_is_set_right_once(place: Place) -> None:
    place.faults.once("PutObject", Fault(Kind.SKEWED))
    with pytest.raises(NoCredentials) as caught:  # the server's clock is ours: there is nothing to set right
        place.bucket.write("key", b"x")
    assert "clock" in caught.value.hint


def test_a_file_that_changes_between_two_parts_leaves_nothing(place: Place, large: Path) -> None:
    def change(_: int) -> None:
        with large.open("r+b") as stream:
            stream.seek(LARGE - 5)
            stream.write(b"other")

    os.utime(large, (1e9, 1e9))
    with pytest.raises(SourceChanged):
        place.bucket.upload(large, "large", progress=change)
    with pytest.raises(NotFound):
        place.bucket.stat("large")
    assert list(place.service.leftovers("bucket")) == []


def test_an_upload_goes_on_where_it_was_stopped(place: Place, large: Path) -> None:
    class Stop(Exception):
        pass

    def stop(_: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        place.bucket.upload(large, "large", progress=stop)
    (left,) = place.service.leftovers("bucket")
    assert 0 < left.bytes <= LARGE
    place.server.requests.clear()
    place.bucket.upload(large, "large")
    sent = place.server.requests["PUT", "UploadPart"]
    assert sent == (LARGE - left.bytes) // (8 << 20)
    assert place.bucket.stat("large").size == LARGE
    assert list(place.service.leftovers("bucket")) == []


SENDER = """
import sys
from storage.obs import ObsService, ObsSettings
service = ObsService(ObsSettings(endpoint=sys.argv[1], access_key="TESTAK", secret_key="TESTSK", signature="obs"))
service.bucket("bucket").upload(sys.argv[2], "large", progress=lambda count: print(count, flush=True))
"""


def test_a_killed_upload_is_resumed_by_the_next_process(place: Place, large: Path) -> None:
    command = [sys.executable, "-c", SENDER, place.server.endpoint, str(large)]
    env = {**os.environ, "PYTHONPATH": str(HOUSE)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        killed.stdout.readline()
        killed.kill()
    with pytest.raises(NotFound):
        place.bucket.stat("large")
    if not list(place.service.leftovers("bucket")):
        pytest.fail("nothing was left to resume")
    place.server.requests.clear()
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    assert place.server.requests["PUT", "UploadPart"] < LARGE // (8 << 20)
    assert place.bucket.stat("large").size == LARGE
    assert list(place.service.leftovers("bucket")) == []


def test_an_interrupted_download_goes_on(place: Place, tmp_path: Path, large: Path) -> None:
    place.bucket.upload(large, "large")

    class Stop(Exception):
        pass

    done: list[int] = []

    def stop(count: int) -> None:
        done.append(count)
        if len(done) == 3:
            raise Stop

    with pytest.raises(Stop):
        place.bucket.download("large", tmp_path / "out", progress=stop)
    assert not (tmp_path / "out").exists()
    place.server.requests.clear()
    place.bucket.download("large", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == large.read_bytes()
    assert place.server.requests["GET", "GetObject"] <= 1 + LARGE // (8 << 20) - 2


def test_keys_that_expire_are_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = {"NEWER": Account("newer-secret")}
    with serving(tmp_path / "root", **accounts) as server:
        monkeypatch.setenv("OBS_ACCESS_KEY_ID", ACCESS_KEY)
        monkeypatch.setenv("OBS_SECRET_ACCESS_KEY", SECRET_KEY)
        service = ObsService(ObsSettings(endpoint=server.endpoint, signature="obs"))
        service.make_bucket("bucket")
        bucket = service.bucket("bucket")
        server.faults.once("PutObject", Fault(Kind.EXPIRED_TOKEN))
        with pytest.raises(NoCredentials) as caught:  # there are no others
            bucket.write("key", b"x")
        assert "expired" in caught.value.hint
        server.faults.once("PutObject", Fault(Kind.EXPIRED_TOKEN))
        monkeypatch.setenv("OBS_ACCESS_KEY_ID", "NEWER")
        monkeypatch.setenv("OBS_SECRET_ACCESS_KEY", "newer-secret")
        bucket.write("key", b"y")
        with bucket.read("key") as stream:
            assert stream.read() == b"y"
        service.close()


def test_who_may_not_is_told_which_permission_it_takes(tmp_path: Path) -> None:
    with serving(tmp_path / "root", OTHER=Account("other-secret", owner="someone else")) as server:
        keys = {"endpoint": server.endpoint, "signature": "obs"}
        mine = ObsService(ObsSettings(access_key=ACCESS_KEY, secret_key=SECRET_KEY, **keys))
        theirs = ObsService(ObsSettings(access_key="OTHER", secret_key="other-secret", **keys))
        mine.make_bucket("bucket")
        with pytest.raises(AccessDenied) as caught:
            theirs.bucket("bucket").write("key", b"x")
        assert "obs:object:PutObject" in caught.value.hint
        assert "request id" in caught.value.message
        unknown = ObsService(ObsSettings(access_key="NOBODY", secret_key="x", **keys))
        with pytest.raises(NoCredentials):
            unknown.bucket("bucket").write("key", b"x")
        wrong = ObsService(ObsSettings(access_key=ACCESS_KEY, secret_key="wrong", **keys))
        with pytest.raises(NoCredentials) as caught_wrong:
            wrong.bucket("bucket").write("key", b"x")
        assert "secret key" in caught_wrong.value.hint
        for service in (mine, theirs, unknown, wrong):
            service.close()


def test_nobody_is_asked_as_by_accident_but_public_buckets_open_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUAWEICLOUD_SDK_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name in ("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK"):
        monkeypatch.delenv(name, raising=False)
    with serving(tmp_path / "root") as server:
        owner = ObsService(ObsSettings(endpoint=server.endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY))
        owner.make_bucket("public", public_read=True)
        owner.bucket("public").write("key", b"for all")
        with pytest.raises(NoCredentials):
            ObsService(ObsSettings(endpoint=server.endpoint)).bucket("public").stat("key")
        assert sum(server.requests.values()) <= 3
        nobody = ObsService(ObsSettings(endpoint=server.endpoint, credentials="anonymous"))
        assert [info.key for info in nobody.bucket("public").list()] == ["key"]
        with pytest.raises(AccessDenied):
            nobody.bucket("public").write("key", b"not by all")
        owner.close()
        nobody.close()


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.retry.FIRST_WAIT", 0.01)
    settings = ObsSettings(endpoint="http://127.0.0.1:9", access_key="a", secret_key="b")
    started = time.monotonic()
    with pytest.raises(Unreachable) as caught:
        ObsService(settings).bucket("bucket").stat("key")
    assert "obs://bucket/key" in caught.value.message
    assert time.monotonic() - started < 60
