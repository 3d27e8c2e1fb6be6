"""``logs``: print a run's log, or follow it to the end."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable

from launcher.cli.common import add_run
from launcher.errors import ExitCode, UsageError
from launcher.output import Output


def register(parser: argparse.ArgumentParser) -> None:
    add_run(parser, nargs="?", default="@last")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run ends, and end as it did")
    parser.add_argument("--tail", type=int, metavar="N", help="begin with the last N lines")


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.cli.common import Targets, detached, tell_end, watcher
    from launcher.ledger import Ledger
    from launcher.logs import LogReader, follow, write_tail
    from launcher.paths import Home
    from launcher.submit import exit_code_of

    if args.tail is not None and args.tail < 0:
        raise UsageError(f"--tail {args.tail}: a number of lines", "--tail 50")
    home = Home.find()
    with Ledger(home) as ledger, Targets(home, out) as targets:
        run = ledger.find(args.run)
        target = targets.of(run)
        run = target.refresh(run, ledger)
        reader = LogReader(target, run)
        if not args.follow:
            text = bytearray()
            write: Callable[[bytes], None] = text.extend if out.json_mode else out.log
            if args.tail is not None:
                write_tail(reader, write, args.tail, once=True)
            else:
                for piece in itertools.chain(reader.read(), reader.rest()):
                    write(piece)
            if out.json_mode:
                out.json({"id": run.id, "log": text.decode("utf-8", "replace")})
            return ExitCode.OK
        if args.tail is not None:
            write_tail(reader, out.log, args.tail)
        try:
            run = follow(reader, ledger, out.log, watcher(target, reader, out.say))
        except KeyboardInterrupt:
            detached(run, out)
            raise
        if out.json_mode:
            out.json(run.to_json())
        else:
            tell_end(run, target, out)
    return exit_code_of(run)
