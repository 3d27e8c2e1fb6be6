"""Uploads that were interrupted: what another try makes of what it finds, and what it leaves behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from launcher.emulator.obs import Fault, Kind
from storage import locking
from storage.errors import AccessDenied
from storage.files import hash_file
from storage.obs import ObsStorage
from storage.obs.checkpoint import Checkpoint, Part
from tests.storage.obs.conftest import LARGE, Place

PARTS = 5


class Stop(Exception):
    """Somebody has pressed Ctrl-C."""


def interrupt(bucket: ObsStorage, path: Path, sha256: str = "", after: int = 1) -> None:
    """Upload the file as `large`, until that many parts have been counted."""
    counted = 0

    def stop(_: int) -> None:
        nonlocal counted
        counted += 1
        if counted == after:
            raise Stop

    with pytest.raises(Stop):
        bucket.upload(path, "large", sha256, stop)


def change(path: Path) -> None:
    """Other bytes, as many, at another time."""
    with path.open("r+b") as stream:
        stream.seek(LARGE - 1)
        last = stream.read()
        stream.seek(LARGE - 1)
        stream.write(bytes([last[0] ^ 1]))
    os.utime(path, (1e9, 1e9))


@pytest.mark.parametrize("is_known", [True, False])
def test_an_upload_of_a_file_that_changed_since_begins_anew(
    place: Place, tmp_path: Path, large: Path, is_known: bool
) -> None:
    """Its metadata would be that of the older bytes, and no download would ever verify."""
    interrupt(place.bucket, large, hash_file(large) if is_known else "")
    change(large)
    newer = hash_file(large)
    place.bucket.upload(large, "large", newer)
    assert place.bucket.stat("large").sha256 == newer
    assert place.bucket.download("large", tmp_path / "out").sha256 == newer
    assert place.leftovers == 0


def test_the_time_of_a_resumed_upload_is_that_of_its_file(place: Place, large: Path) -> None:
    interrupt(place.bucket, large)
    os.utime(large, ns=(0, 1_234_567_890))
    place.bucket.upload(large, "large")
    assert place.bucket.wire.head("large").headers["x-obs-meta-mtime"] == "1234567890"


def record_of_upload() -> Path:
    """What is known of the only one."""
    (record,) = Path(os.environ["LAUNCHER_STATE"], "uploads").iterdir()
    return record


def test_an_upload_of_a_file_that_grew_leaves_no_parts_of_the_older_one(place: Place, large: Path) -> None:
    interrupt(place.bucket, large)
    with large.open("ab") as stream:
        stream.write(b"x")
    place.bucket.upload(large, "large")
    assert place.bucket.stat("large").size == LARGE + 1
    assert place.leftovers == 0


@pytest.mark.parametrize("torn", [b'[9, "abc', b"\xff\n", b"[]\n", b'{"upload": "another"}\n'])
def test_a_line_that_is_torn_costs_no_other_line(place: Place, large: Path, torn: bytes) -> None:
    """Another try, interrupted too, writes behind it; and the one after that reads all."""
    interrupt(place.bucket, large)
    record = record_of_upload()
    assert 0 < record.read_bytes().count(b"\n") <= 1 + PARTS
    with record.open("ab") as stream:
        stream.write(torn)
    interrupt(place.bucket, large, after=PARTS)
    assert record.read_bytes().count(b"\n") == 1 + PARTS
    place.server.requests.clear()
    place.bucket.upload(large, "large")
    assert place.server.requests["PUT", "UploadPart"] == 0
    assert place.leftovers == 0
    assert not record.exists()


def test_a_disk_that_takes_half_a_line_is_as_one_that_takes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint("place", "name", 1, 1, "", 0)
    checkpoint.begin("upload")
    file: Any = checkpoint._file

    class Full:
        def __getattr__(self, name: str) -> Any:
            return getattr(file, name)

        def write(self, data: bytes) -> int:
            return int(file.write(data[:5]))

    monkeypatch.setattr(checkpoint, "_file", Full())
    checkpoint.add(1, Part("a", "b"))
    monkeypatch.setattr(checkpoint, "_file", file)
    checkpoint.add(2, Part("c", "d"))
    checkpoint.close()
    again = Checkpoint("place", "name", 1, 1, "", 0)
    assert (again.upload, again.parts) == ("upload", {2: Part("c", "d")})
    again.close()


def test_a_record_that_was_removed_before_it_was_locked_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    first, lock = Checkpoint("place", "name", 1, 1, "", 0), locking.lock

    def late(stream: Any) -> bool:
        first.remove()
        return lock(stream)

    monkeypatch.setattr(locking, "lock", late)
    second = Checkpoint("place", "name", 1, 1, "", 0)
    second.begin("upload")
    second.close()
    third = Checkpoint("place", "name", 1, 1, "", 0)
    assert third.upload == "upload"
    third.close()


def test_who_may_not_look_at_parts_may_still_upload(place: Place, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(place.bucket, large)
    call = place.bucket.channel.call_once

    def denied(what: str, action: str, name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "listParts":
            raise AccessDenied(f"{what}: 403 AccessDenied")
        return call(what, action, name, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(place.bucket.channel, "call_once", denied)
        place.bucket.upload(large, "large")
    assert place.bucket.stat("large").size == LARGE
    assert place.leftovers == 0


@pytest.mark.parametrize("after", [0, 50, 300])
def test_listings_that_break_off_are_asked_for_again(place: Place, large: Path, after: int) -> None:
    interrupt(place.bucket, large, after=PARTS)
    for operation in ("ListBuckets", "ListMultipartUploads", "ListParts"):
        place.server.faults.once(operation, Fault(Kind.TRUNCATED, after=after))
    place.server.requests.clear()
    assert [bucket.name for bucket in place.service.buckets()] == ["bucket"]
    assert place.leftovers == 1
    place.server.faults.once("ListParts", Fault(Kind.TRUNCATED, after=after))
    place.bucket.upload(large, "large")
    assert place.server.requests["PUT", "UploadPart"] == 0
    assert place.server.faults.injected[Kind.TRUNCATED] == 4
