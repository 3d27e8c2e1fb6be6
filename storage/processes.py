"""Trees of very many small files shared with worker processes, since one process keeps no more than one core busy.

Each worker process is served by one thread of the crew: it takes items as the other threads do, some BATCH at a time,
says them to the worker (`storage.worker`), and hears what became of each. A worker that does not start is done without;
one that ends with items in its hands is an error of the transfer. A worker whose pipe is closed, because this process
has been killed, ends at once.

Nothing of what a worker needs to know is in its arguments or its environment, which other users may read: keys and the
rest of our environment come through the pipe.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, Generic, List, Optional, Sequence, TypeVar

from .base import Storage
from .errors import StorageError
from .parallel import BULK_FILE, Crew

if TYPE_CHECKING:
    import subprocess

T = TypeVar("T")

MANY = 3000
"""Files from which a worker's start (0.15 s of one core) is paid back."""
LARGEST = 1 << 20
"""Bytes. Larger files stay in this process, which has the memory for them."""
MOST = 2
"""Workers at most: memory."""
BATCH = 128
_AHEAD = 2 * BATCH
"""Items that a worker should have in its hands or before it: as many as it has threads, and some more."""
_THREADS = 16
"""A caller who wants less than this at once wants no processes."""
_START_SECONDS = 10.0
_END_SECONDS = 15.0
_STOP_SECONDS = 2.0
"""For what is under way in a worker to be cleared away after an error."""
_LOOK_SECONDS = 0.1

_FIRST = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    "import json, os, sys\n"
    "hello = json.loads(open(0, 'rb', 0, closefd=False).readline())\n"
    "sys.path[:] = hello['path']\n"
    "import importlib; importlib.import_module(hello['module']).main(hello)\n"
)
_INHERITED = ("PATH", "HOME", "LANG", "TZ", "TMPDIR")
_INHERITED_KINDS = ("LC_", "LD_", "DYLD_")
"""What of the environment a program needs to start; the rest comes through the pipe."""


def count(crew: Crew, storage: Storage, sizes: Sequence[int]) -> int:
    """How many workers it is worth to start for a tree in this storage; `sizes` are those of its first MANY files, or
    of all of them."""
    if crew.limit < _THREADS or len(sizes) < MANY or sum(sizes) > BULK_FILE * len(sizes) or recipe_of(storage) is None:
        return 0
    name = os.path.basename(sys.executable or "")
    if os.name != "posix" or not name.startswith(("python", "pypy")) or getattr(sys, "frozen", False):
        return 0  # a program that Python is only a part of
    wanted: Optional[int] = getattr(storage, "processes", None)
    return min(MOST, _cores() - 1) if wanted is None else min(MOST, wanted)


def recipe_of(storage: Storage) -> Optional[Dict[str, Any]]:
    """How another process can open the same bucket, in JSON; None where that is not known."""
    recipe: Optional[Callable[[], Optional[Dict[str, Any]]]] = getattr(storage, "recipe", None)
    return recipe() if recipe is not None else None


class Helper(Generic[T]):
    """What one thread of a crew does to have a worker process take some of the items. Called, it serves until there are
    no more.

    `errand` tells the worker what to do with each item, `pack` makes the item JSON, or None if it has to stay here, and
    `done` is told what the worker says became of it.
    """

    def __init__(
        self,
        crew: Crew,
        storage: Storage,
        errand: Dict[str, Any],
        pack: Callable[[T], Optional[List[Any]]],
        done: Callable[[T, List[Any]], None],
    ) -> None:
        self._crew = crew
        self._errand = {**errand, "recipe": recipe_of(storage), "threads": crew.limit // 2}
        self._pack = pack
        self._done = done
        self._away: Dict[int, T] = {}
        """What the worker has been told to do and has not yet done."""
        self._number = 0

    def __call__(self) -> None:
        from . import pipes

        child = _start(self._errand)
        if child is None:
            return
        assert child.stdin is not None and child.stdout is not None
        told, lines = child.stdin.fileno(), pipes.Lines(child.stdout.fileno())
        patience = 0.0
        try:
            if self._is_ready(lines):
                patience = _STOP_SECONDS
                self._serve(told, lines)
                patience = _END_SECONDS
        except (EOFError, BrokenPipeError):
            if self._away:
                raise StorageError(
                    f"a worker process of this transfer ended in the middle of it{_how(child)}",
                    "look at the memory that is free, and run the same command again: what has arrived whole is kept",
                ) from None
        finally:
            _end(child, told, lines, patience)

    def _is_ready(self, lines: Any) -> bool:
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and not self._crew.is_over:
            for line in lines.get(_LOOK_SECONDS):
                return bool(line == "ready")
        return False

    def _serve(self, told: int, lines: Any) -> None:
        from . import pipes

        crew, away = self._crew, self._away
        while not crew.is_stopping:
            if len(away) < _AHEAD:
                items = crew.take(BATCH, self._pack)
                if items:
                    numbered = range(self._number, self._number + len(items))
                    self._number += len(items)
                    away.update((number, item) for number, (item, _) in zip(numbered, items))
                    pipes.put(told, [[number, *packed] for number, (_, packed) in zip(numbered, items)])
                elif not away and crew.is_over:
                    return
            for heard in lines.get(_LOOK_SECONDS if away else 0.01):
                if "error" in heard:
                    raise pipes.to_error(heard["error"])
                if heard["moved"]:
                    crew.tell(heard["moved"])
                for number, *result in heard["done"]:
                    self._done(away.pop(number), result)


def _start(errand: Dict[str, Any]) -> Optional[subprocess.Popen[bytes]]:
    """A worker, unless the system has no place for one."""
    import subprocess

    from . import pipes

    flags = ["-E", "-S", *(["-B"] if sys.dont_write_bytecode else [])]
    flags += ["-X", "utf8=%d" % sys.flags.utf8_mode]
    needed = {
        name: value for name, value in os.environ.items() if name in _INHERITED or name.startswith(_INHERITED_KINDS)
    }
    try:
        child = subprocess.Popen(
            [sys.executable, *flags, "-c", _FIRST],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=needed,
            bufsize=0,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    assert child.stdin is not None
    hello = {
        "path": sys.path,
        "module": __name__.rpartition(".")[0] + ".worker",
        "parent": os.getpid(),
        "encoding": sys.getfilesystemencoding(),
        "environment": dict(os.environ),
        "errand": errand,
    }
    with contextlib.suppress(OSError):  # one that has ended at once: the next look will find that
        pipes.put(child.stdin.fileno(), hello)
    return child


def _end(child: subprocess.Popen[bytes], told: int, lines: Any, patience: float) -> None:
    """Tell it to end, and see to it that it does."""
    from . import pipes

    until = time.monotonic() + patience
    with contextlib.suppress(OSError, EOFError):
        pipes.put(told, "stop")
        while time.monotonic() < until:
            lines.get(_LOOK_SECONDS)
    child.kill()  # it has ended, or never will
    child.wait()
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            stream.close()


def _how(child: subprocess.Popen[bytes]) -> str:
    import subprocess

    with contextlib.suppress(subprocess.TimeoutExpired):
        code = child.wait(_STOP_SECONDS)
        return f" (signal {-code})" if code < 0 else f" (exit status {code})"
    return ""


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
