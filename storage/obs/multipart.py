"""Large objects: up in parts, which nobody sees until they are completed; and copied in parts within OBS.

One reads the file in order and hashes it; lanes hash and send its parts. What another process has sent of the same
file is not sent again: the checkpoint names the upload, OBS lists its parts, and a part counts as sent if its ETag is
the recorded one and its bytes, read again, have the recorded sha256. If the file has changed since the upload began,
it is aborted and another one begun: the sha256 in its metadata would be that of the older bytes.

What ends an upload early: bytes that changed abort it; anything else leaves it to be resumed, if a checkpoint could be
kept, else aborts it. `storage gc` finds the rest.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from typing import TYPE_CHECKING, Any, Dict, List, Tuple
from urllib.parse import quote

from ..base import ObjectInfo, Progress
from ..errors import AccessDenied, Corrupt, NotFound, SourceChanged, StorageError, Unreachable
from ..files import SourceFile
from ..retry import Transient, patiently
from .checkpoint import Checkpoint, Part
from .lanes import Task
from .wire import Reply

if TYPE_CHECKING:
    from .bucket import ObsStorage

PART = 8 << 20
"""Bytes of a part, unless the object would then have too many."""
MOST_PARTS = 10_000
"""OBS API reference, "Uploading parts"."""
COPIED_PART = 1 << 30
_SETTLE_SECONDS = 10.0


def part_size(size: int) -> int:
    """Bytes a part for an object of that many: `PART`, or whole MiB so that there are at most `MOST_PARTS`."""
    needed = -(-size // MOST_PARTS)
    return max(PART, -(-needed // (1 << 20)) << 20)


def upload(bucket: ObsStorage, source: SourceFile, key: str, sha256: str, progress: Progress) -> ObjectInfo:
    """Send an open file; what it raises, and what is then visible, is as in `Storage.upload`."""
    sending = _Upload(bucket, source, key, sha256, progress)
    try:
        return sending.run()
    except BaseException as error:
        sending.stop(isinstance(error, (SourceChanged, Corrupt)))
        raise


def copy(bucket: ObsStorage, source: ObjectInfo, target: str) -> None:
    """Copy a large object within its bucket; Corrupt, and nothing to see of it, if it was replaced meanwhile."""
    what = f"cannot copy {bucket.label(source.key)} to {target}"
    metadata = {"sha256": source.sha256} if source.sha256 else {}
    upload_id = _initiate(bucket, target, metadata)
    etags: Dict[int, str] = {}
    try:
        for number, start in enumerate(range(0, source.size, COPIED_PART), 1):
            etags[number] = _copy_part(bucket, what, source, target, upload_id, number, start)
        now = bucket.stat(source.key)  # the API reference has no condition for copied parts
        if (now.etag, now.size, now.mtime) != (source.etag, source.size, source.mtime):
            raise Corrupt(f"{what}: it was replaced meanwhile", "try again")
        _complete(bucket, target, upload_id, etags, source.size, source.sha256)
    except BaseException:
        _abort(bucket, target, upload_id)
        raise


def _copy_part(
    bucket: ObsStorage, what: str, source: ObjectInfo, target: str, upload_id: str, number: int, start: int
) -> str:
    """Copy up to `COPIED_PART` bytes; the ETag of the part."""
    span = f"{start}-{min(start + COPIED_PART, source.size) - 1}"
    place = f"{bucket.name}/{source.key}"

    return patiently(
        lambda: bucket.channel.copy_once(
            what, "copyPart", bucket.name, target, number, upload_id, place, copySourceRange=span
        )
    )


class _Upload:
    def __init__(self, bucket: ObsStorage, source: SourceFile, key: str, sha256: str, progress: Progress) -> None:
        self._bucket = bucket
        self._source = source
        self._key = key
        self._sha256 = sha256
        self._progress = progress
        self._part_size = part_size(source.size)
        place, name, mtime_ns = bucket.channel.settings.url, f"{bucket.name}/{key}", source.status.st_mtime_ns
        self._checkpoint = Checkpoint(place, name, source.size, self._part_size, sha256, mtime_ns)
        self._stopping = threading.Event()
        self._tasks: List[Tuple[int, int, Task[Part]]] = []

    def run(self) -> ObjectInfo:
        checkpoint, source = self._checkpoint, self._source
        etags = {number: part.etag for number, part in self._resumed().items()}
        if not checkpoint.upload:
            checkpoint.begin(_initiate(self._bucket, self._key, self._metadata()))
        for number in range(1, -(-source.size // self._part_size) + 1):
            known = checkpoint.parts.get(number) if number in etags else None
            self._next(number, known, etags)
            self._collect(etags, wait=False)
        self._collect(etags, wait=True)
        found = source.finish(self._sha256)
        etag = _complete(self._bucket, self._key, checkpoint.upload, etags, source.size, self._sha256)
        checkpoint.remove()
        return ObjectInfo(self._key, source.size, source.status.st_mtime, etag, found)

    def stop(self, is_wrong: bool) -> None:
        """No part is sent any more; the upload stays for another try, or not."""
        self._stopping.set()
        until = time.monotonic() + _SETTLE_SECONDS
        for _, _, task in self._tasks:
            task.settle(max(0.0, until - time.monotonic()))
        for number, _, task in self._tasks:
            if task.is_done() and not is_wrong:
                with contextlib.suppress(BaseException):
                    self._checkpoint.add(number, task.result())
        upload_id = self._checkpoint.upload
        if upload_id and (is_wrong or not self._checkpoint.is_kept):
            _abort(self._bucket, self._key, upload_id)
            self._checkpoint.remove()
        self._checkpoint.close()

    def _next(self, number: int, known: Any, etags: Dict[int, str]) -> None:
        """Read a part, and send it unless OBS has it."""
        channel = self._bucket.channel
        taken = channel.budget.take(self._part_size)
        try:
            buffer = channel.buffers.take(self._part_size)
            data = memoryview(buffer)[: self._source.fill(memoryview(buffer)[: self._part_size])]
            is_there = known is not None and hashlib.sha256(data).hexdigest() == known.sha256
            if is_there:
                self._report(len(data))
            else:
                etags.pop(number, None)
                task = channel.lanes.start(self._sender(number, data, buffer, taken))
        except BaseException:
            channel.budget.give(taken)
            raise
        if is_there:
            channel.buffers.give(buffer)
            channel.budget.give(taken)
        else:
            self._tasks.append((number, len(data), task))

    def _sender(self, number: int, data: memoryview, buffer: bytearray, taken: int) -> Any:
        bucket, key, stopping = self._bucket, self._key, self._stopping
        upload_id = self._checkpoint.upload

        def send() -> Part:
            try:
                sha256 = hashlib.sha256(data).hexdigest()
                checks = bucket.checks(data, sha256)
                what = f"cannot write {bucket.label(key)}, part {number}"
                query = f"partNumber={number}&uploadId={quote(upload_id, '')}"

                def once() -> Part:
                    if stopping.is_set():
                        raise Unreachable(f"{what}: stopped")
                    reply = bucket.put_once(what, lambda: bucket.wire.put(key, data, dict(checks), query), checks)
                    return Part(sha256, reply.headers.get("etag", "").strip('"'))

                return patiently(once)
            finally:
                bucket.channel.buffers.give(buffer)
                bucket.channel.budget.give(taken)

        return send

    def _collect(self, etags: Dict[int, str], wait: bool) -> None:
        while self._tasks and (wait or self._tasks[0][2].is_done()):
            number, size, task = self._tasks[0]
            part = task.result()
            self._tasks.pop(0)
            etags[number] = part.etag
            self._checkpoint.add(number, part)
            self._report(size)

    def _report(self, count: int) -> None:
        if self._progress is not None:
            self._progress(count)

    def _resumed(self) -> Dict[int, Part]:
        """The parts of an earlier try that OBS still has as they were recorded."""
        checkpoint = self._checkpoint
        if checkpoint.abandoned:
            _abort(self._bucket, self._key, checkpoint.abandoned)
        if not checkpoint.upload:
            return {}
        try:
            there = _parts(self._bucket, self._key, checkpoint.upload)
        except NotFound:
            checkpoint.upload = ""
            return {}
        except AccessDenied:  # who may write need not be allowed to look; the next upload must not fail of it
            _abort(self._bucket, self._key, checkpoint.upload)
            checkpoint.upload = ""
            return {}
        return {number: part for number, part in checkpoint.parts.items() if there.get(number, ("", 0))[0] == part.etag}

    def _metadata(self) -> Dict[str, str]:
        """Known before the bytes are read: the sha256 only if the caller knows it."""
        metadata = {"mtime": str(self._source.status.st_mtime_ns), "part-size": str(self._part_size)}
        if self._sha256:
            metadata["sha256"] = self._sha256
        return metadata


def _initiate(bucket: ObsStorage, key: str, metadata: Dict[str, str]) -> str:
    what = f"cannot write {bucket.label(key)}"

    upload_id = ""

    def call() -> Reply:
        nonlocal upload_id
        reply, upload_id = bucket.wire.begin(key, metadata)
        return reply

    def once() -> str:
        bucket.channel.ask_once(what, "write", call)
        if not upload_id:
            raise Transient(Unreachable(f"{what}: the store began no upload", "try again"))
        return upload_id

    return patiently(once)


def _parts(bucket: ObsStorage, key: str, upload_id: str) -> Dict[int, Tuple[str, int]]:
    """number -> (ETag, bytes) of the parts that OBS has."""
    what = f"cannot look at the upload of {bucket.label(key)}"
    found: Dict[int, Tuple[str, int]] = {}
    marker = None
    while True:
        page = bucket.channel.content(
            what, "read", "listParts", bucket.name, key, upload_id, maxParts=1000, partNumberMarker=marker
        )
        for part in page.parts:
            found[int(part.partNumber)] = (str(part.etag).strip('"'), int(part.size))
        if not page.isTruncated or not page.parts:
            return found
        marker = page.nextPartNumberMarker


def bytes_of(bucket: ObsStorage, key: str, upload_id: str) -> int:
    """What the parts of an unfinished upload hold."""
    return sum(size for _, size in _parts(bucket, key, upload_id).values())


def _complete(bucket: ObsStorage, key: str, upload_id: str, etags: Dict[int, str], size: int, sha256: str) -> str:
    """Make the object of its parts; its ETag. A reply that is lost, or says 200 and holds an error, is settled by
    looking."""
    what = f"cannot write {bucket.label(key)}"
    composite = _composite([etags[number] for number in sorted(etags)])
    etag = ""

    def call() -> Reply:
        nonlocal etag
        reply, etag = bucket.wire.complete(key, upload_id, etags)
        return reply

    def is_there() -> bool:
        try:
            info = bucket.stat(key)
        except NotFound:
            return False
        return info.size == size and (info.etag.lower() == composite or (bool(sha256) and info.sha256 == sha256))

    def once() -> str:
        try:
            bucket.channel.ask_once(what, "write", call)
        except (Transient, NotFound) as error:
            if is_there():
                return composite
            if isinstance(error, NotFound):
                raise Corrupt(f"{what}: the upload in parts has gone", "run the same command again") from error
            raise
        if etag or is_there():
            return etag or composite
        raise Transient(Unreachable(f"{what}: the store could not put its parts together", "run it again later"))

    return patiently(once)


def _composite(etags: List[str]) -> str:
    """The ETag of an object of parts: the MD5 of their MD5s, and their number."""
    with contextlib.suppress(ValueError):
        return hashlib.md5(b"".join(bytes.fromhex(etag) for etag in etags)).hexdigest() + f"-{len(etags)}"
    return ""


def _abort(bucket: ObsStorage, key: str, upload_id: str) -> None:
    """Tell OBS to forget the parts, as far as it hears."""
    with contextlib.suppress(StorageError, Transient, OSError):
        bucket.channel.call_once("", "write", "abortMultipartUpload", bucket.name, key, upload_id)
