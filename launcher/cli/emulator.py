"""``emulator``: ModelArts' API on this machine, with jobs that really run."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.errors import ExitCode, LauncherError, PreflightError, UsageError
from launcher.output import Output

if TYPE_CHECKING:
    from launcher.emulator.modelarts.background import Running

SECONDS = {
    "creating": "how long a job is Creating",
    "queuing": "how long it waits for resources",
    "output-period": "how often outputs are copied out",
    "log-period": "how often the log is copied out",
    "hour": "how long an hour of auto_stop takes",
}
SIMULATION = "this is a simulation of ModelArts on this machine: no account, no cost, throw-away keys"


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=0, metavar="P", help="default: the last one, else a free one")
    parser.add_argument(
        "--state", type=Path, metavar="DIR", help="jobs, buckets and keys (default: .launcher/emulator)"
    )
    parser.add_argument(
        "--store", default="", metavar="URL", help="another S3 or OBS server, keys in OBS_…; default: own"
    )
    parser.add_argument("--faults", type=Path, metavar="FILE", help="a JSON list of faults: docs/emulator.md has them")
    parser.add_argument("--python", default="", metavar="PATH", help="the interpreter of jobs")
    for name, line in SECONDS.items():
        parser.add_argument(f"--{name}", type=float, metavar="SECONDS", help=line)
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="any other setting, such as paging=record"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="begin with N more finished jobs")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--background", action="store_true", help="start it, print the environment to use, and return")
    how.add_argument("--detached", action="store_true", help=argparse.SUPPRESS)
    how.add_argument("--stop", action="store_true", help="end the one that runs; its jobs go on")
    how.add_argument("--status", action="store_true", help="say whether one runs, and its environment")


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    if os.name != "posix":
        raise PreflightError("the emulator needs Linux or macOS", "run it inside WSL")
    from launcher.emulator.modelarts import background
    from launcher.locks import is_held
    from launcher.paths import Home

    folder = (args.state or Home.find().root / "emulator").absolute()
    if args.stop:
        was_there = background.stop(folder)
        out.say(f"the emulator on {folder} has ended" if was_there else f"no emulator runs on {folder}")
        if out.json_mode:
            out.json({"stopped": was_there})
        return ExitCode.OK
    if args.status:
        running = background.find(folder)
        if running is None:
            raise NotRunning(f"no emulator runs on {folder}", "python -m launcher emulator --background")
        _tell(running, out)
        return ExitCode.OK
    settings, faults = _settings(args), _faults(args)
    if args.background:
        if is_held(folder / "lock"):
            raise _busy(folder)
        out.say(f"starting an emulator on {folder}")
        _tell(background.start(folder, _words(args, folder)), out)
        return ExitCode.OK
    return _serve(args, folder, settings, faults, out)


class NotRunning(LauncherError, LookupError):
    """No emulator runs on that state folder."""

    exit_code = ExitCode.NOT_FOUND


def _serve(args: argparse.Namespace, folder: Path, settings: Any, faults: Any, out: Output) -> ExitCode:
    import signal
    import threading

    from launcher.emulator.modelarts.background import Running
    from launcher.emulator.modelarts.server import Emulator

    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    with Emulator(folder, settings, args.port, args.store, say=out.say) as emulator:
        if faults:
            emulator.set_faults(faults)
        if args.seed:
            emulator.seed(args.seed)
        if args.detached:  # whoever started it tells; no key gets into the log
            out.say(f"{SIMULATION}; {emulator.endpoint}")
        else:
            _tell(Running(0, emulator.endpoint, emulator.environment()), out)
            out.say("Ctrl-C ends it")
        over.wait()
    out.say("ended; jobs that run go on, and the next start takes them up")
    return ExitCode.OK


def _words(args: argparse.Namespace, folder: Path) -> list[str]:
    """The same choices as a command line."""
    words = ["--detached", "--state", str(folder)]
    faults = args.faults.absolute() if args.faults else None
    given = {"port": args.port, "store": args.store, "faults": faults, "python": args.python, "seed": args.seed}
    given.update({name: getattr(args, name.replace("-", "_")) for name in SECONDS})
    for name, value in given.items():
        if value not in (None, "") and (value or name in SECONDS):
            words += [f"--{name}", str(value)]
    for pair in args.set:
        words += ["--set", pair]
    return words


def _settings(args: argparse.Namespace) -> Any:
    from launcher.emulator.modelarts.settings import Settings

    values: dict[str, Any] = {"python": args.python} if args.python else {}
    for name in SECONDS:
        key = name.replace("-", "_")
        if getattr(args, key) is not None:
            values[key] = getattr(args, key)
    for pair in args.set:
        key, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"--set takes NAME=VALUE, not {pair!r}", "for example --set paging=record")
        values[key] = _value(text, getattr(Settings, key, ""))
    try:
        return Settings().changed(values)
    except ValueError as error:
        raise UsageError(str(error), "docs/emulator.md has the settings") from None


def _value(text: str, default: object) -> object:
    try:
        return float(text) if isinstance(default, float) else text
    except ValueError:
        return text


def _faults(args: argparse.Namespace) -> Any:
    import json

    from launcher.emulator.modelarts.faults import Faults

    if args.faults is None:
        return []
    try:
        given = json.loads(args.faults.read_text("utf-8"))
        Faults().set(given)
    except OSError:
        raise
    except ValueError as error:
        raise UsageError(f"{args.faults}: {error}", "docs/emulator.md has the faults") from None
    return given


def _tell(running: Running, out: Output) -> None:
    """What a client needs to know: lines for a shell, or one object."""
    out.say(f"{SIMULATION}; {running.endpoint}")
    if out.json_mode:
        out.json(running.environment)
        return
    for name, value in running.environment.items():
        out.data(f"export {name}={shlex.quote(value)}")


def _busy(folder: Path) -> LauncherError:
    from launcher.emulator.modelarts.server import busy

    return busy(folder)
