"""How a boot file that the launcher may have started tells its result, and what went wrong.

With `--json`: one JSON value on stdout, `{"error": {"code", "message", "hint"}}` for an error. Else two lines on
stderr. What is being done goes to stderr, one line each, in both cases.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import traceback
from typing import Any, Callable, Iterator, NoReturn, Sequence

from jobs import JobError

Note = Callable[[str], None]

INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Complains in two lines."""

    def error(self, message: str) -> NoReturn:
        raise JobError(message, f"{self.prog} --help lists the arguments")


def note(text: str) -> None:
    """A line for people."""
    print(text, file=sys.stderr, flush=True)


def told(run: Callable[[Sequence[str]], Any], show: Callable[[Any], None], argv: Sequence[str]) -> int:
    """Run, and tell what came of it; the exit code. `run` gets the arguments without `--json`."""
    flags = list(argv[: argv.index("--")] if "--" in argv else argv)
    as_json = "--json" in flags
    if as_json:  # what libraries print is not part of the answer
        answer, sys.stdout = sys.stdout, sys.stderr
    try:
        with _ending_once():
            result = run([word for word in flags if word != "--json"] + list(argv[len(flags) :]))
        code = 0
    except KeyboardInterrupt:
        result, code = _failed(JobError("interrupted", "start it again: nothing is half done"), as_json), INTERRUPTED
    except Exception as error:
        result, code = _failed(error, as_json), 1
    if as_json:
        sys.stdout = answer
        json.dump(result, sys.stdout, allow_nan=False)
        print(flush=True)
    elif not code:
        show(result)
    return code


@contextlib.contextmanager
def _ending_once() -> Iterator[None]:
    """Ctrl-C and SIGTERM are a KeyboardInterrupt, once: the next ones do not disturb the tidying up."""
    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]

    def end(*_: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = [(number, signal.signal(number, end)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _failed(error: Exception, as_json: bool) -> Any:
    if os.environ.get("LAUNCHER_DEBUG", "") not in ("", "0", "no", "false", "off"):
        traceback.print_exception(type(error), error, error.__traceback__)
    message, hint = getattr(error, "message", ""), getattr(error, "hint", "")
    if not message and isinstance(error, OSError):
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        hint = "free space or give access there, or pass another place"
    elif not message and isinstance(error, MemoryError):
        message, hint = "out of memory", "pass fewer pictures at once: --batch=16"
    elif not message:
        message, hint = f"{type(error).__name__}: {error}", "LAUNCHER_DEBUG=1 shows where this came from"
    message, hint = _line(message), _line(hint or "look at the path or URL, and try again")
    if not as_json:
        print(f"error: {message}\nhint: {hint}", file=sys.stderr, flush=True)
    return {"error": {"code": type(error).__name__, "message": message, "hint": hint}}


def _line(text: str) -> str:
    return next((line.strip() for line in str(text).splitlines() if line.strip()), "no details were given")
