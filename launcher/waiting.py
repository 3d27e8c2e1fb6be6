"""Telling a person what is being waited for: which host, which try, once it has lasted most of a second.

`storage.retry` keeps what every thread waits for; a thread looks at it a few times a second. Whoever reads JSON or has
asked for quiet is told nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from launcher.output import Output

if TYPE_CHECKING:
    from storage.retry import Wait

PATIENCE = 0.6
"""Seconds that anything may take without a word."""
LOOK = 0.15


@contextmanager
def told(out: Output) -> Iterator[None]:
    """While entered, waits are told on stderr, each host and try once."""
    if out.mode != "human":
        yield
        return
    over = threading.Event()
    threading.Thread(target=_watch, args=(out, over), name="waiting", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _watch(out: Output, over: threading.Event) -> None:
    said: set[tuple[str, int, str]] = set()
    while not over.wait(LOOK):
        retry = sys.modules.get("storage.retry")  # not imported yet: nobody can be waiting
        for wait in list(getattr(retry, "WAITS", {}).values()):  # it may be half imported
            words = _words(wait, out.counts_bytes)
            if words and (wait.host, wait.failures, wait.why) not in said:
                said.add((wait.host, wait.failures, wait.why))
                out.say(words)


def _words(wait: Wait, counts_bytes: bool) -> str:
    """What to say of it; empty if it is not worth a word. Bytes that are counted as they go tell the first try."""
    if not wait.host or time.monotonic() - wait.since < PATIENCE:
        return ""
    if not wait.failures:
        count = f" (try 1 of {wait.tries})" if wait.tries > 1 else ""
        return "" if counts_bytes else f"waiting for {wait.host}{count}"
    whom = "" if wait.host in wait.why else f" {wait.host}"
    return f"{wait.why}; asking{whom} again (try {wait.failures + 1} of {wait.tries})"
