"""``python -m launcher``: find the verb, import only that, word every error once."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from launcher.cli import VERBS
from launcher.cli.common import add_output_flags
from launcher.errors import ExitCode, LauncherError, UsageError, look_at, nearest
from launcher.output import Output

EPILOG = """exit codes: 0 fine, 1 error, 2 usage, 100 the run failed, 101 not finished, 102 not found, 103 stopped,
130 interrupted, 141 nobody reads. Start with: python -m launcher submit lenet5"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are the launcher's own two lines; it takes no abbreviated flags."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"{self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    out = Output(_mode(arguments))
    try:
        return int(_run(arguments, out))
    except KeyboardInterrupt:
        if out.json_mode:
            out.error("Interrupted", "interrupted", "")
        else:
            out.say("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.BROKEN_PIPE
    except Exception as error:
        if "--debug" in arguments:
            raise
        return _report(error, out)


def build_parser(verbs: Sequence[str]) -> Parser:
    """The root parser; only the verbs named get their arguments, the others are known by name alone."""
    prog = "launcher" if os.path.basename(sys.argv[0]) == "launcher" else "python -m launcher"
    parser = Parser(
        prog=prog,
        description="Train on Huawei Cloud ModelArts, or on this machine through the same code.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_version())
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    for verb, line in VERBS.items():
        child = subparsers.add_parser(verb, help=line, description=line[0].upper() + line[1:] + ".")
        if verb in verbs:
            import_module(f"launcher.cli.{verb}").register(child)
            add_output_flags(child)
    return parser


def _run(arguments: list[str], out: Output) -> int:
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(build_parser(list(VERBS)))
    verb = next((word for word in arguments if not word.startswith("-")), "")
    if verb and verb not in VERBS:
        raise UsageError(f"there is no verb {verb!r}", nearest(verb, VERBS))
    parser = build_parser([verb])
    words, rest = _split(arguments)
    if rest and verb not in ("submit", "convert"):
        raise UsageError(f"{verb} takes nothing after --", f"python -m launcher {verb} --help")
    try:
        args = parser.parse_args(words, argparse.Namespace(rest=rest))
    except SystemExit as end:  # --help and --version
        return int(end.code or 0)
    if not args.verb:
        parser.print_help(out.stdout)
        return ExitCode.USAGE
    from launcher.waiting import told

    with told(out):
        return int(import_module(f"launcher.cli.{verb}").run(args, out))


def _report(error: Exception, out: Output) -> int:
    from storage.errors import StorageError

    if isinstance(error, LauncherError):
        out.error(type(error).__name__, error.message, error.hint)
        return error.exit_code
    if isinstance(error, StorageError):
        out.error(type(error).__name__, error.message, error.hint)
    elif isinstance(error, OSError):
        place = error.filename or "this machine"
        out.error(type(error).__name__, f"{place}: {error.strerror or error}", _os_hint(error))
    else:
        hint = "this is a defect of the launcher: the same command with --debug shows where"
        out.error(type(error).__name__, f"{type(error).__name__}: {error}", hint)
    return ExitCode.ERROR


def _os_hint(error: OSError) -> str:
    place = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some disk space and try again"
    if not place:
        return "the same command with --debug shows where"
    elsewhere = ", or keep the launcher's files elsewhere: export LAUNCHER_HOME=FOLDER" if ".launcher" in place else ""
    return look_at(place) + elsewhere


def _mode(arguments: Sequence[str]) -> str:
    words, _ = _split(arguments)
    if "--json" in words:
        return "json"
    return "quiet" if "--quiet" in words or "-q" in words else "human"


def _split(arguments: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The launcher's own words, and what stands after ``--``."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:end], arguments[end + 1 :]


def _version() -> str:
    from launcher import __version__

    return f"modelarts-launcher {__version__}"


def program() -> None:
    """The program's entry: what a terminal cannot show is shown as an escape, not as an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = main()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)  # all is closed and written: taking the interpreter apart would only cost 10 ms


if __name__ == "__main__":
    program()
