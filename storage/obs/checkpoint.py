"""What is known of an upload in parts, on this machine's disk, so that another process can go on with it.

One file an upload, in `$LAUNCHER_STATE` or `$XDG_STATE_HOME/modelarts-launcher` (`~/.local/state/…`), never beside the
source, which may be read-only. A line for the upload, then a line a part, each appended when OBS has the part; a last
line that is torn is cut off. It is locked while an upload uses it. Nothing in it is believed: see `multipart`.

What OBS was told when the upload began (size, sha256 and time of the file) cannot be changed later, so an upload of
another file, or of this one before it changed, is not gone on with: it is `abandoned`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from typing import Any, BinaryIO, Dict, NamedTuple, Optional

from ..locking import open_locked

_LARGEST = 4 << 20


class Part(NamedTuple):
    """A part that OBS has."""

    sha256: str
    """Of its bytes."""
    etag: str


class Checkpoint:
    """The record of one upload. `upload` is its id, "" for a new one; then `begin` names it."""

    def __init__(self, place: str, name: str, size: int, part_size: int, sha256: str, mtime_ns: int) -> None:
        self._path = os.path.join(_folder(), hashlib.sha256(f"{place}\n{name}".encode()).hexdigest()[:32] + ".jsonl")
        self._head = {"name": name, "place": place, "size": size, "part_size": part_size}
        self._head.update(sha256=sha256, mtime_ns=mtime_ns)
        self._file: Optional[BinaryIO] = None
        self.upload = ""
        self.abandoned = ""
        """The id of an upload to the same name that the record was of; to be aborted before `begin`."""
        self.parts: Dict[int, Part] = {}
        with contextlib.suppress(OSError):
            os.makedirs(_folder(), exist_ok=True)
            self._file = open_locked(self._path)
            if self._file is not None:
                self._read()

    @property
    def is_kept(self) -> bool:
        """Whether another process will find it."""
        return self._file is not None

    def begin(self, upload: str) -> None:
        """A new upload, with no part yet."""
        self.upload = upload
        self.parts = {}
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.truncate(0)
                self._append({**self._head, "upload": upload})
                return
            self._file.close()
            self._file = None

    def add(self, number: int, part: Part) -> None:
        self.parts[number] = part
        with contextlib.suppress(OSError):  # a full disk costs sending it again
            self._append([number, part.sha256, part.etag])

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """The upload is over."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        self.close()

    def _append(self, row: Any) -> None:
        """A line as a whole, or an OSError."""
        if self._file is not None:
            line = json.dumps(row).encode() + b"\n"
            end = self._file.seek(0, os.SEEK_END)
            if self._file.write(line) != len(line):
                self._file.truncate(end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _read(self) -> None:
        """All lines as far as they are whole and make sense; what follows is cut off, so that nothing is joined to
        it."""
        assert self._file is not None
        self._file.seek(0)
        end = 0
        for line in self._file.read(_LARGEST).split(b"\n")[:-1]:
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                break
            end += len(line) + 1
        self._file.truncate(end)

    def _take(self, row: Any) -> None:
        if not self.upload and not self.abandoned:
            upload = str(row["upload"])
            if {name: row.get(name) for name in self._head} == self._head:
                self.upload = upload
            else:
                self.abandoned = upload
        elif self.upload:
            number, sha256, etag = row
            self.parts[int(number)] = Part(str(sha256), str(etag))


def _folder() -> str:
    base = os.environ.get("LAUNCHER_STATE")
    if base:
        return os.path.join(base, "uploads")
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, "modelarts-launcher", "uploads")
