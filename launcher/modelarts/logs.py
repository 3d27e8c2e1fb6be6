"""One worker's log, from whichever of three places has it, each line once.

::

    aom       by line numbers, at once          needs a permission and a region that has it; may lag or lack lines
    obs       ranged reads of the object        5 to 30 s late; rewritten whole each time; may shrink or rotate
    preview   the newest 5 MB                   as late as obs; no cursor at all

    aom ──► obs ──► preview     when a place refuses, fails for long, or has less than the next; never back

What was handed on is remembered as one hash a line, so a place that counts otherwise, or has dropped its beginning, or
has begun anew, is aligned with it. Lines are handed on whole; the last one, which may lack its end, at the run's end.

Whether AOM's `base_line` is included in its answer is not documented: lines are taken by their numbers. The last one
that is known is asked for again: it is missing when the log has begun anew. What is rotated away lies beside the log's
object, with `.1`, `.2` and so on after its name (the real names are not known).
"""

from __future__ import annotations

import array
import contextlib
import re
import time
from collections.abc import Sequence
from typing import Any

from launcher.errors import ServiceError
from launcher.modelarts.client import NO_JOB, Client
from storage.base import Storage
from storage.errors import NotFound, StorageError

PIECE = 4 << 20
"""Bytes of one read."""
CHECKED = 512
"""Bytes before the cursor that must still be there for a ranged read to count."""
LATE_SECONDS = 35.0
"""How long after a run's end the platform may still copy its log out: every 30 s, and at the end (OTC user manual)."""
QUIET_SECONDS = 1.0
"""Between the last line of a log that is known to have ended, and the look that finds nothing more."""
HELD_SECONDS = 0.5
"""How long AOM's last line must be the same; less than the pause between two looks at a run."""
LAST_LOOKS = (0.0, 0.3, 1.0)
"""Pauses before the looks into a place at the end, as long as it refuses."""
END_MARK = re.compile(rb"service log\].*\breturn code\b", re.IGNORECASE)
"""The platform's line after the boot file's: `[Modelarts Service Log]Training end with return code: 0`."""
_LOST = "\N{REPLACEMENT CHARACTER}"


class Position:
    """How far one reader has come. Changed only by a read that succeeds."""

    def __init__(self) -> None:
        self.source = ""
        """Not chosen yet."""
        self.hashes = array.array("q")
        """Of every line that was handed on."""
        self.line = 0
        """AOM's number of the last one."""
        self.offset = 0
        """Where the next line begins in the object, if it is as it was."""
        self.before = b""
        """The bytes before it."""
        self.version = ""
        """Of the object that held nothing new."""
        self.rest = b""
        """A last line without its end."""
        self.marked = False
        """The platform has said that the boot file ended, and the boot file nothing since."""
        self.done = False
        self.gone = False
        """The job has been deleted; its log may lie in the bucket yet."""
        self.followed = False
        """Whether this reader was there before the run ended."""
        self.held = (0, 0.0)
        """AOM's last line that was not handed on yet, and since when it has been the same."""
        self.ending = False
        """Whether the run has ended."""
        self.until = 0.0
        """On the monotonic clock, when nothing can come any more; 0: the run has not ended."""

    def is_settled(self, line: bytes) -> bool:
        """Whether AOM's last line is whole, which AOM does not say: it is after a while; at the end, others know."""
        if self.held[0] != _hash(line):
            self.held = (_hash(line), time.monotonic())
        return not self.ending and time.monotonic() - self.held[1] > HELD_SECONDS

    def take(self, lines: Sequence[bytes]) -> bytes:
        """Hand these lines on."""
        text = b"".join(line + b"\n" for line in lines)
        self.hashes.extend(_hash(line) for line in lines)
        self.offset += len(text)
        self.before = (self.before + text)[-CHECKED:]
        for line in lines:
            if b"service log]" not in line.lower():
                self.marked = False  # a job that is started again goes on after it
            elif END_MARK.search(line):
                self.marked = True
        return text


class WorkerLog:
    """The log of one worker of one job; `storage` and `key` are of the object that it is copied to, if it is."""

    def __init__(self, client: Client, job_id: str, task: str, storage: Storage | None, key: str) -> None:
        self.client, self.job_id, self.task = client, job_id, task
        self.storage, self.key = storage, key

    def read(self, position: Position, ended: float | None = None) -> bytes:
        """What follows the position; with `ended`, the POSIX time of the run's end (0: it never began), until the log's
        last byte, for which it waits as long as that can take: then nothing means the end.
        """
        if position.done:
            return b""
        position.ending = ended is not None
        while True:
            text = self._more(position)
            if text or ended is None:
                position.followed = position.followed or ended is None
                return text
            if not position.until:
                position.until = time.monotonic() + self._patience(position, ended)
            left = position.until - time.monotonic()
            if position.marked:
                left = min(left, QUIET_SECONDS)
            if left > 0:
                time.sleep(min(left, 3.0))
                text = self._more(position)
                if text:
                    return text
                if not position.marked:
                    continue
            return self._last(position)

    def _patience(self, position: Position, ended: float) -> float:
        """Seconds for which more may come. The end is dated by the service, whose clock may not be ours."""
        if position.gone:
            return 0.0
        if position.followed and ended:
            return LATE_SECONDS
        now = min(time.time(), self.client.wire.now())
        return min(LATE_SECONDS, max(0.0, ended + LATE_SECONDS - now))

    def _last(self, position: Position) -> bytes:
        """Nothing comes any more: what only the other places have, and the last line, which has no end."""
        while position.source != "preview":
            self._leave(position)
            for pause in LAST_LOOKS:
                time.sleep(pause)
                with contextlib.suppress(ServiceError, StorageError):
                    text = self._more(position)
                    if text:
                        return text
                    break
        position.done = True
        if position.gone and not position.hashes and not position.rest:
            self.client.wire.say("there is no log: the job has been deleted on ModelArts")
        rest, position.rest = position.rest, b""
        return rest

    def _more(self, position: Position) -> bytes:
        while True:
            source = position.source = position.source or "aom"
            try:
                text: bytes = getattr(self, f"_from_{source}")(position)
            except (ServiceError, StorageError) as error:
                if source == "preview" or (isinstance(error, ServiceError) and error.status in (0, 401)):
                    raise
                position.gone = position.gone or (isinstance(error, ServiceError) and error.code == NO_JOB)
                self._leave(position)
                continue
            if text or position.source == source:
                return text

    def _leave(self, position: Position) -> None:
        position.source = "obs" if position.source == "aom" and self.storage is not None else "preview"
        position.version = ""

    def _from_aom(self, position: Position) -> bytes:
        base = str(position.line - 1) if position.line else ""
        data = self.client.lines(self.job_id, self.task, base)
        content = str((data or {}).get("content") or "")
        lines = content.encode("utf-8", "replace").split(b"\n") if content else []
        if lines and not lines[-1]:
            lines.pop()
        try:
            first, last = int((data or {})["start_line"]), int((data or {})["end_line"])
        except (KeyError, TypeError, ValueError):
            first, last = 0, -1
        # how many of these lines were handed on; the last of them must be the last one of all
        known = position.line + 1 - first if position.line else 0
        is_known = not known or (0 < known <= len(lines) and _hash(lines[known - 1]) == position.hashes[-1])
        if (lines and last - first + 1 != len(lines)) or not is_known:
            self._leave(position)  # it counts in a way that cannot be followed, or has begun anew
            return b""
        lines = lines[known:]
        if lines and not position.hashes and self._is_rotated():
            self._leave(position)  # it may number from where the log begins now
            return b""
        held, position.rest = 0, b""
        if lines and not position.is_settled(lines[-1]):
            position.rest, last = lines.pop(), last - 1
            held = len(position.rest) + 1
            position.marked = position.marked or END_MARK.search(position.rest) is not None
        if not lines:
            if self._object_size() > position.offset + (0 if position.ending else held):  # it lags, or lacks them
                self._leave(position)
            return b""
        position.line = last
        return position.take(lines)

    def _is_rotated(self) -> bool:
        """Whether a part of the log has been rotated away, which only the bucket tells. Asked once there are lines:
        before, it may still happen."""
        with contextlib.suppress(StorageError):
            return self.storage is not None and bool(self._rotated(self.storage, 1))
        return False

    def _object_size(self) -> int:
        if self.storage is None:
            return 0
        try:
            return self.storage.stat(self.key).size
        except StorageError:
            return 0

    def _from_obs(self, position: Position) -> bytes:
        assert self.storage is not None
        try:
            info = self.storage.stat(self.key)
        except NotFound:
            return b""
        version = f"{info.etag}:{info.size}:{info.mtime}"
        if version == position.version:
            return b""
        if info.size >= position.offset and (position.offset or not self._rotated(self.storage, 1)):
            start, known, size = position.offset - len(position.before), len(position.before), PIECE
            while True:
                with self.storage.read(self.key, start, known + size) as stream:
                    data = stream.read()
                if b"\n" in data[known:] or len(data) < known + size:
                    break
                size *= 4  # a line of megabytes
            if data.startswith(position.before):
                *lines, rest = data[known:].split(b"\n")
                if len(data) < known + size:  # all there is
                    position.version, position.rest = version, rest
                return position.take(lines)
        with self.storage.read(self.key) as stream:
            data = stream.read()
        parts = self._rotated(self.storage)
        if parts and parts[-1].startswith(data):  # not rewritten yet since what was in it went to that part
            data = b""
        text = self._aligned(position, data, False, b"".join(parts))
        position.version = version
        return text

    def _rotated(self, storage: Storage, most: int | None = None) -> list[bytes]:
        """The parts of the log that lie beside the object, oldest first; `most` bytes of each."""
        parts = []
        for info in storage.list(self.key + "."):
            number = info.key[len(self.key) + 1 :]
            if number.isdigit():
                parts.append((info.mtime, int(number), info.key))
        found = []
        for _, _, key in sorted(parts):
            with storage.read(key, 0, most) as stream:
                data = stream.read()
            found.append(data if data.endswith(b"\n") or not data else data + b"\n")
        return found

    def _from_preview(self, position: Position) -> bytes:
        data = self.client.preview(self.job_id, self.task)
        if not data or not isinstance(data.get("content"), str):
            return b""
        content = data["content"].encode("utf-8", "replace")
        full = data.get("full_size")
        cut = isinstance(full, int) and full > len(content)
        if cut and isinstance(full, int):
            new = full - position.offset
            if 0 < new <= len(content) and content[: len(content) - new].endswith(position.before):
                *lines, position.rest = content[len(content) - new :].split(b"\n")
                return position.take(lines)
        return self._aligned(position, content, cut)

    @staticmethod
    def _aligned(position: Position, data: bytes, cut: bool, rotated: bytes = b"") -> bytes:
        """Lines of a whole log, or of its `cut` end, that were not handed on; `rotated` stood before it."""
        *lines, rest = (rotated + data).split(b"\n")
        found = new_lines(position.hashes, [_hash(line) for line in lines], cut)
        if found is None:
            return b""
        start, kept = found
        del position.hashes[kept:]
        text = position.take(lines[start:])
        position.rest = rest
        if not cut:
            position.offset = len(data) - len(rest)
            position.before = data[max(0, position.offset - CHECKED) : position.offset]
        return text


def new_lines(seen: Sequence[int], view: Sequence[int], cut: bool) -> tuple[int, int] | None:
    """The first line of `view` that was not seen, and how many of the seen lines still count; None if the view is older
    than what was seen.

    It may go on where the seen ended, differ in a line that was handed on before it was whole, have lost its beginning,
    or have nothing to do with it (begun anew: all is new).
    """
    size = len(seen)
    same = next((i for i, (a, b) in enumerate(zip(seen, view, strict=False)) if a != b), min(size, len(view)))
    if same == size:
        return size, size
    if same == len(view):
        return None
    skip = 1 if cut else 0  # the first line of a cut view has lost its beginning
    overlap = _overlap(seen, view[skip:])
    if same and same >= overlap:
        return same, same
    if overlap:
        return skip + overlap, size
    last = list(seen[-20:])
    for start in range(len(view) - len(last), -1, -1):
        if len(last) > 2 and list(view[start : start + len(last)]) == last:
            return start + len(last), size
    return None if _overlap(view, seen) else (0, size)  # None: it ends somewhere in the middle of what was seen


def _overlap(seen: Sequence[int], view: Sequence[int]) -> int:
    """The longest beginning of `view` that `seen` ends with (Knuth, Morris and Pratt's table)."""
    table = [0] * len(view)
    at = 0
    for index in range(1, len(view)):
        while at and view[index] != view[at]:
            at = table[at - 1]
        at += view[index] == view[at]
        table[index] = at
    at = 0
    for line in seen[-len(view) :] if view else ():
        while at and (at == len(view) or line != view[at]):
            at = table[at - 1]
        at += line == view[at]
    return at


def _hash(line: bytes) -> int:
    """Equal for one line in all three places, which treat broken characters and line ends differently."""
    return hash(line.decode("utf-8", "replace").replace(_LOST, "").rstrip())


def object_key(folder: str, job_id: str, task: str) -> str:
    """Where ModelArts puts a worker's log, below the folder that it was given."""
    return f"{folder}/modelarts-job-{job_id}-{task}.log" if folder else f"modelarts-job-{job_id}-{task}.log"


def stalled(metrics: Sequence[dict[str, Any]], minutes: int) -> str:
    """`npuUtil 0 %` if the last minutes used nothing, by ModelArts' metrics; empty if they did, or unknown."""
    used = {}
    for row in metrics:
        values = [v for v in (row.get("value") or [])[-minutes:] if isinstance(v, (int, float)) and v >= 0]
        if values and str(row.get("metric")) in ("npuUtil", "gpuUtil", "cpuUtil", "cpuUsage"):
            used[str(row["metric"])] = max(values)
    cards = {name: value for name, value in used.items() if name in ("npuUtil", "gpuUtil")}
    if not used or any(value > 1 for value in cards.values()) or any(value > 10 for value in used.values()):
        return ""
    return ", ".join(f"{name} {value:.0f} %" for name, value in used.items())
