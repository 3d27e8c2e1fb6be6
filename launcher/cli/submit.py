"""``submit``: plan, upload, start, follow, bring home."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from launcher.cli.common import Interrupts, complete_jobs, detached, shown, tell_end, watcher
from launcher.errors import ExitCode, UsageError
from launcher.output import Output

if TYPE_CHECKING:
    from launcher.jobs import Job
    from launcher.ledger import Ledger
    from launcher.paths import Home
    from launcher.plan import Options, Plan
    from launcher.resume import Resume
    from launcher.run import Run
    from launcher.targets.base import Target


def register(parser: argparse.ArgumentParser) -> None:
    job = parser.add_argument("job", nargs="?", metavar="JOB", help="a job's name, or a path to its job.yaml")
    job.completer = complete_jobs  # type: ignore[attr-defined]
    parser.add_argument("--script", metavar="FILE", help="run a script that has no job.yaml; its folder is the code")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="assignments", help="override a parameter"
    )
    parser.add_argument("--data", metavar="WHAT", help="a known data set, a folder, or an obs:// URL")
    parser.add_argument("--no-pack", action="store_true", help="send very many small data files one by one")
    parser.add_argument("--target", help="where to run (default: local)")
    parser.add_argument("-P", "--profile", help="the account to use, of the settings' profiles")
    parser.add_argument("--contract", choices=["new", "old"], help="folders (new) or URLs (old) for data and output")
    parser.add_argument("--nodes", type=int, metavar="N", help="how many workers")
    parser.add_argument("--devices", type=int, metavar="N", help="how many cards a worker; here, how many processes")
    parser.add_argument("--time-limit", metavar="TIME", help="stop the run after 90s, 30m, 2h, 1d")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="an environment variable")
    parser.add_argument(
        "--resume",
        metavar="RUN[@STEP]",
        help="go on from the newest good checkpoint of an earlier run, from that of a step, or from RUN@best",
    )
    parser.add_argument("--keep-last", type=int, metavar="K", help="how many checkpoints to keep, beside the best one")
    parser.add_argument(
        "--drill",
        metavar="kill@0.5",
        help="kill the job half-way, resume it, and compare with a run that nobody touches",
    )
    parser.add_argument("--name", help="a name for people (default: the run's id)")
    parser.add_argument("--python", metavar="PATH", help="the interpreter of a local run (default: this one)")
    parser.add_argument(
        "--allow-secret",
        action="append",
        default=[],
        metavar="NAME",
        help="a file or a value that looks secret and is none",
    )
    parser.add_argument("-d", "--detach", action="store_true", help="print the run's id and return")
    parser.add_argument("-n", "--dry-run", action="store_true", help="print the plan; send and start nothing")
    parser.add_argument("--no-pull", action="store_true", help="leave the output in the bucket")
    parser.epilog = "What follows -- is passed to the boot file as it is."


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.paths import Home
    from launcher.settings import load_settings
    from launcher.targets import open_target

    home = Home.find()
    settings = load_settings(home, target=args.target, python=args.python, profile=args.profile)
    profile = args.profile if settings.target != "local" else None
    target = open_target(settings.target, home, submits=not args.dry_run, profile=profile)
    try:
        return _run(args, settings.python, target, home, out)
    finally:
        target.close()


def _run(args: argparse.Namespace, python: str, target: Target, home: Home, out: Output) -> ExitCode:
    from launcher.plan import Options

    target.say = out.warn
    for note in target.notes:
        out.warn(note)
    resume = _resume(args.resume, target, home)
    options = Options(
        data=args.data,
        arguments=(*args.rest, *(resume.arguments if resume else ())),
        resume=resume.url if resume else None,
        name=args.name,
        python=python,
        allow_secrets=frozenset(args.allow_secret),
    )
    job = _job(args, home)
    if args.drill:
        return _drill(job, options, target, home, args, out)
    plan = _plan(job, options, target, home, out)
    if args.dry_run:
        _show_plan(plan, target, out)
        return ExitCode.OK
    return _submit(plan, target, home, args, out)


def _plan(job: Job, options: Options, target: Target, home: Home, out: Output) -> Plan:
    """A plan that the target can carry out."""
    from launcher.plan import make_plan

    plan = make_plan(job, options, target, home, out.progress)
    used_in_place = [plan.data.url] if plan.data and plan.data.manifest is None else []
    target.preflight(plan.job, options.python, [*used_in_place, *([options.resume] if options.resume else [])])
    return plan


def _job(args: argparse.Namespace, home: Home) -> Job:
    """The job that the command line describes, with its overrides, checked."""
    import msgspec

    from launcher.jobs import Job, find_job, script_job
    from launcher.spec import check_variable, override

    if bool(args.job) == bool(args.script):
        if not args.job:
            raise UsageError("submit needs a job or a script", "python -m launcher submit lenet5")
        raise UsageError("submit takes a job or --script, not both", f"python -m launcher submit {args.job}")
    job = script_job(args.script) if args.script else find_job(args.job, home)
    if args.script and args.assignments:
        raise UsageError("--set is for a job's parameters", "give a script its arguments after --")
    for value in (args.name, *args.env, *args.rest):
        if value is not None and value != value.encode("utf-8", "replace").decode():
            raise UsageError(f"{value!r} has bytes that are no text", "write it in UTF-8")
    keep = [] if args.keep_last is None else [f"keep_last={args.keep_last}"]
    spec = override(job.spec, [*args.assignments, *keep])
    changes: dict[str, Any] = {
        "contract": args.contract,
        "time_limit": args.time_limit,
        "pack": "never" if args.no_pack else None,
    }
    counts = {"nodes": (args.nodes, 64), "devices": (args.devices, 16)}
    for name, (count, most) in counts.items():
        if count is not None and not 1 <= count <= most:
            raise UsageError(f"--{name} {count}: from 1 to {most}", f"--{name} 2")
    given = {name: count for name, (count, _) in counts.items() if count is not None}
    changes["resources"] = msgspec.structs.replace(spec.resources, **given) if given else None
    environment = dict(spec.environment)
    for assignment in args.env:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise UsageError(f"--env {assignment} has no value", f"--env {name}=VALUE")
        environment[name] = value
    try:
        for name in environment:
            check_variable(name)
        spec = msgspec.structs.replace(spec, environment=environment, **{k: v for k, v in changes.items() if v})
    except ValueError as error:
        raise UsageError(str(error), "python -m launcher submit --help") from None
    return Job(spec, job.project, job.script)


def _resume(reference: str | None, target: Target, home: Home) -> Resume | None:
    if reference is None:
        return None
    from launcher.ledger import Ledger
    from launcher.resume import resolve

    with Ledger(home) as ledger:
        return resolve(reference, ledger, target)


def _submit(plan: Plan, target: Target, home: Home, args: argparse.Namespace, out: Output) -> ExitCode:
    with _begun(plan, target, home, out) as (run, ledger, interrupts):
        return finish(run, target, home, ledger, interrupts, args, out)


@contextlib.contextmanager
def _begun(plan: Plan, target: Target, home: Home, out: Output) -> Iterator[tuple[Run, Ledger, Interrupts]]:
    """Carry a plan out: the run, once the target has it. While it is entered, Ctrl-C is counted and not raised."""
    from launcher.ledger import Ledger
    from launcher.submit import bring_data, submit

    for note in plan.snapshot.notes:
        out.warn(note)
    out.say(f"target {target.name} ({target.place}): run {plan.run} of job {plan.job.spec.name}")
    if machine := target.remote(plan).get("machine"):
        out.say(f"machine: {machine}")
    plan = bring_data(plan, out.say, out.progress)
    with Ledger(home, create=True) as ledger, Interrupts() as interrupts:
        interrupts.once = target.detaches
        yield submit(plan, target, ledger, out.progress, interrupts.check), ledger, interrupts


def finish(
    run: Run,
    target: Target,
    home: Home,
    ledger: Ledger,
    interrupts: Interrupts,
    args: argparse.Namespace,
    out: Output,
) -> ExitCode:
    """What follows once the target has the run: its log, its output, its end; or only its id."""
    if args.detach:
        out.json(run.to_json()) if out.json_mode else out.data(run.id)
        return ExitCode.OK
    if target.detaches:
        interrupts.release()
    try:
        run = _follow(run, target, ledger, interrupts, out)
    except KeyboardInterrupt:
        detached(run, out)
        raise
    interrupts.release()
    if not args.no_pull:
        _pull(run, target, home, out)
    return _tell(run, target, bool(interrupts.count), out)


def _drill(job: Job, options: Options, target: Target, home: Home, args: argparse.Namespace, out: Output) -> ExitCode:
    """Three runs, and what they have in common; see ``launcher.drill``."""
    from msgspec.structs import replace

    from launcher import drill

    drill.check(args.drill)
    wrong = [flag for flag in ("resume", "detach", "dry_run") if getattr(args, flag)]
    if wrong or target.name != "local":
        reason = f"takes no --{wrong[0].replace('_', '-')}" if wrong else f"is for the target local, not {target.name}"
        hint = f"python -m launcher submit {args.job} --drill {args.drill} --target local"
        raise UsageError(f"--drill {reason}", hint)

    def execute(environment: dict[str, str], resume: str | None) -> Run:
        spec = replace(job.spec, environment={**job.spec.environment, **environment})
        plan = _plan(replace(job, spec=spec), replace(options, resume=resume), target, home, out)
        with _begun(plan, target, home, out) as (run, ledger, interrupts):
            run = _follow(run, target, ledger, interrupts, out)
        if interrupts.count:
            raise KeyboardInterrupt
        return run

    parts = drill.carry_out(args.drill, execute, target.storage(), out.say)
    same = all(part.equal for part in parts)
    if out.json_mode:
        out.json(
            {"drill": args.drill, "equal": same, "parts": [{**part._asdict(), "equal": part.equal} for part in parts]}
        )
    else:
        for part in parts:
            out.data(f"{'equal    ' if part.equal else 'DIFFERENT'} {part.what}")
        out.say(f"drill {args.drill}: the resumed run " + ("is the undisturbed one, to the bit" if same else "differs"))
    return ExitCode.OK if same else ExitCode.RUN_FAILED


def _follow(run: Run, target: Target, ledger: Ledger, interrupts: Interrupts, out: Output) -> Run:
    """Stream the log to the end; Ctrl-C stops a local run (twice: at once), as it would stop the script itself."""
    from launcher.logs import LogReader, follow

    reader = LogReader(target, run)
    if target.detaches:
        interrupts.check()
        return follow(reader, ledger, out.log, watcher(target, reader, out.say))
    hear = watcher(target, reader, out.say)
    started, waiting = time.monotonic(), False

    def look(run: Run) -> None:
        nonlocal waiting
        if run.phase == "Pending" and not waiting and time.monotonic() - started > 1:
            waiting = True
            out.say("Pending: code and data are being brought in")
        hear(run)
        if interrupts.new():
            out.say(f"stopping {run.id}" + ("" if interrupts.count > 1 else "; Ctrl-C again: at once"))
            target.stop(run, ledger, now=interrupts.count > 1)

    return follow(reader, ledger, out.log, look)


def _tell(run: Run, target: Target, interrupted: bool, out: Output) -> ExitCode:
    from launcher.submit import exit_code_of

    if out.json_mode:
        out.json(run.to_json())
    else:
        tell_end(run, target, out)
    return ExitCode.INTERRUPTED if interrupted else exit_code_of(run)


def _pull(run: Run, target: Target, home: Home, out: Output) -> None:
    """Bring the output home; of a run that failed, whatever there is."""
    from storage.errors import StorageError

    destination = home.outputs / run.id
    try:
        with out.progress("bringing the output home", 0) as advance:
            files = target.pull(run, destination, advance)
    except StorageError as error:
        if run.phase == "Completed":
            raise
        out.warn(f"the output did not come home: {error}; again with: python -m launcher pull {run.id}")
        return
    if files:
        out.say(f"output: {shown(destination)} ({len(files)} files)")


def _show_plan(plan: Plan, target: Target, out: Output) -> None:
    from launcher.spec import as_text

    if out.json_mode:
        out.json(plan.to_json())
        return
    upload, data = plan.upload, plan.data
    out.data(f"target   {plan.target}")
    out.data(f"run      {plan.run}")
    out.data(f"code     {len(plan.snapshot.files)} files -> {plan.code_url}")
    for file in plan.snapshot.files:
        out.data(f"         + {file.path}  {file.size} bytes  ({file.rule})")
    for file in plan.snapshot.excluded:
        out.data(f"         - {file.path}  ({file.rule})")
    if data:
        known = (
            f"{len(data.manifest.entries)} files, {data.manifest.total_bytes} bytes" if data.manifest else "in place"
        )
        missing = "; not on this machine yet, submit brings it" if data.missing else ""
        out.data(f"data     {data.name}: {known} -> {data.url}{missing}")
        if data.packed:
            out.data(f"         packed: {data.packed['files']:,} small files as {_shards(data.packed['shards'])}")
    out.data(f"output   {plan.output_url}")
    for name, value in plan.parameters.items():
        out.data(f"         --{name}={as_text(value)}")
    resources = plan.job.spec.resources
    if resources.nodes > 1 or resources.devices > 1:
        each = f", {resources.devices} processes each" if resources.devices > 1 else ""
        out.data(f"nodes    {resources.nodes}{each}")
    if machine := target.remote(plan).get("machine"):
        out.data(f"machine  {machine}")
    out.data(
        f"upload   {upload['files']} files, {upload['bytes']} bytes; {upload['already_there']} files already there"
    )
    for note in plan.snapshot.notes:
        out.data(f"note     {note}")
    out.say("dry run: nothing was sent or started")


def _shards(count: int) -> str:
    return "1 shard" if count == 1 else f"{count} shards"
