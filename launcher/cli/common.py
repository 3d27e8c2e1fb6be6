"""What several verbs share: the output flags and the words that name a run."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.output import PHASE_STYLES, Output

if TYPE_CHECKING:
    from launcher.devices.remote import Ssh
    from launcher.ledger import Ledger
    from launcher.logs import LogReader
    from launcher.paths import Home
    from launcher.run import Run
    from launcher.targets.base import Target


FIRST_LINE_SECONDS = 1.0


def add_output_flags(parser: argparse.ArgumentParser) -> None:
    """``--json``, ``--quiet`` and ``--debug``; every verb and sub-verb has them."""
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="one JSON value on stdout")
    group.add_argument("-q", "--quiet", action="store_true", help="data only, no talk and no progress")
    group.add_argument("--debug", action="store_true", help="show tracebacks")


def add_run(parser: argparse.ArgumentParser, nargs: str | None = None, default: str | None = None) -> None:
    """The positional RUN: an id, a unique prefix of one, or ``@last``."""
    keywords: dict[str, object] = {"metavar": "RUN", "help": "a run's id, a unique prefix of it, or @last"}
    if nargs:
        keywords.update(nargs=nargs, default=default)
    argument = parser.add_argument("run", **keywords)  # type: ignore[arg-type]
    argument.completer = complete_runs  # type: ignore[attr-defined]


def add_ssh(parser: argparse.ArgumentParser) -> None:
    """How a host is reached; what is left away is ssh's own configuration's."""
    group = parser.add_argument_group("ssh", "keys and names are those of ssh's own configuration")
    group.add_argument("-F", "--ssh-config", default="", metavar="FILE", help="instead of ~/.ssh/config")
    group.add_argument("-p", "--port", type=int, default=0, metavar="N", help="where sshd listens")
    group.add_argument("-J", "--jump", default="", metavar="HOST", help="by way of this host")
    group.add_argument("--python", default="python3", metavar="PATH", help="the host's Python (default: python3)")


def ssh_of(args: argparse.Namespace, host: str) -> Ssh:
    """The host as these flags reach it."""
    from launcher.devices.remote import Ssh

    return Ssh(host, config=args.ssh_config, port=args.port, jump=args.jump, python=args.python)


def complete_runs(prefix: str, **_: object) -> list[str]:
    """Run ids for the shell's Tab key."""
    from launcher.ledger import Ledger
    from launcher.paths import Home

    with Ledger(Home.find()) as ledger:
        return [run.id for run in ledger.runs() if run.id.startswith(prefix)] + ["@last"]


def complete_jobs(prefix: str, **_: object) -> list[str]:
    """Job names for the shell's Tab key."""
    from launcher.jobs import known_jobs
    from launcher.paths import Home

    return [name for name in known_jobs(Home.find()) if name.startswith(prefix)]


class Interrupts:
    """While entered, Ctrl-C is counted instead of raised, so that no log byte in hand is lost to it. With ``once``, a
    second one is raised all the same: what is being waited for may take minutes to fail."""

    def __init__(self) -> None:
        self.count = 0
        self.once = False
        self._seen = 0

    def __enter__(self) -> Interrupts:
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def release(self) -> None:
        """From here on Ctrl-C is raised again."""
        signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        """Raise what Ctrl-C would have raised; for the places where that does no harm."""
        if self.count:
            raise KeyboardInterrupt

    def new(self) -> bool:
        """Whether there was one since the last call."""
        new, self._seen = self.count > self._seen, self.count
        return new

    def _note(self, *_: object) -> None:
        self.count += 1
        if self.once and self.count > 1:
            raise KeyboardInterrupt


def shown(path: Path) -> str:
    """A path as a person would type it: relative to the working folder where it lies below."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def ending(run: Run, out: Output) -> str:
    """How a run ended, in a line or two: phase, its own exit code, what it reached, how to look further."""
    code = f", exit code {run.exit_code}" if run.exit_code is not None else ""
    phase = out.style(run.phase, PHASE_STYLES.get(run.phase, ""), out.stderr)
    lines = [f"{run.id}: {phase}{code}" + (f" ({run.message})" if run.message else "")]
    if run.result:
        lines.append("result: " + ", ".join(f"{name} {brief(value)}" for name, value in run.result.items()))
    if run.phase in ("Failed", "Abnormal"):
        lines.append(f"next:   python -m launcher logs {run.id} --tail 50")
    return "\n".join(lines)


def tell_end(run: Run, target: Target, out: Output) -> None:
    """How a run ended, and why as far as that can be told."""
    out.say(ending(run, out))
    for cause in target.causes(run):
        out.say(f"cause:  {cause['what']}" + (f" ({cause['evidence']})" if cause["evidence"] else ""))
        out.say(f"mend:   {cause['hint']}")


def brief(value: object) -> str:
    """A number in five significant digits; anything else as it is."""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


class Targets:
    """The targets of one call, each opened once, when a run needs it."""

    def __init__(self, home: Home, out: Output) -> None:
        self.home, self.out = home, out
        self._open: dict[tuple[str, str | None], Target] = {}

    def __enter__(self) -> Targets:
        return self

    def __exit__(self, *_: object) -> None:
        for target in self._open.values():
            target.close()

    def of(self, run: Run) -> Target:
        """Where the run is, with the account that it was started with."""
        return self.named(run.target, run.remote.get("profile"))

    def named(self, name: str, profile: str | None = None) -> Target:
        """``profile``: None is the settings' one, an empty one is none of them."""
        from launcher.targets import open_target

        if (name, profile) not in self._open:
            target = self._open[name, profile] = open_target(name, self.home, profile=profile)
            target.say = self.out.warn
            for note in target.notes:
                self.out.warn(note)
        return self._open[name, profile]

    def refreshed(self, runs: Iterable[Run], ledger: Ledger, patient: bool = False) -> list[Run]:
        """The runs as they are now: those that have not ended are asked after. ``patient``: one that cannot be asked
        after stays as it is known, with a warning."""
        from launcher.errors import LauncherError
        from storage.errors import StorageError

        found = []
        for run in runs:
            try:
                found.append(run if run.final else self.of(run).refresh(run, ledger))
            except (LauncherError, StorageError) as error:
                if not patient:
                    raise
                self.out.warn(f"{run.id} is shown as it was: {error}")
                found.append(run)
        return found


def watcher(target: Target, reader: LogReader, say: Callable[[str], None]) -> Callable[[Run], None]:
    """What ``follow`` tells of a run's state: what the target has to say to a person, each thing once; and that a run
    which says nothing is there."""
    told = False

    def look(run: Run) -> None:
        nonlocal told
        for line in target.notice(run, reader.idle):
            say(line)
        if not told and run.phase == "Running" and reader.is_empty and reader.idle > FIRST_LINE_SECONDS:
            told = True
            say("Running: waiting for its first line (a framework takes some seconds to load)")

    return look


def detached(run: Run, out: Output) -> None:
    """The two next commands of somebody who stops following a run that goes on."""
    out.say(f"the run goes on; see it again: python -m launcher logs -f {run.id}")
    out.say(f"              or stop it: python -m launcher stop {run.id}")
