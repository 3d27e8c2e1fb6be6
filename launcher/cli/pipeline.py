"""``pipeline``: from the data to a verified model and a page about it, in one command."""

from __future__ import annotations

import argparse
from pathlib import Path

from launcher.cli.common import complete_jobs, shown
from launcher.errors import ExitCode
from launcher.output import Output


def register(parser: argparse.ArgumentParser) -> None:
    job = parser.add_argument("job", metavar="JOB", help="a job's name, or a path to its job.yaml")
    job.completer = complete_jobs  # type: ignore[attr-defined]
    parser.add_argument("--to", default="onnx", choices=["onnx", "mindir"], help="the model's format (default: onnx)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="assignments", help="override a parameter"
    )
    parser.add_argument("--data", metavar="WHAT", help="a known data set or a folder")
    parser.add_argument("--dynamic-batch", action="store_true", help="let the model take any number of pictures")
    parser.add_argument("--report", type=Path, metavar="FILE", help="default: .launcher/pipelines/JOB-FORMAT.html")
    parser.add_argument("--force", action="store_true", help="do every step, whatever is there")


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.devices.pipeline import Pipeline, Request
    from launcher.paths import Home

    home = Home.find()
    request = Request(
        job=args.job,
        to=args.to,
        assignments=tuple(args.assignments),
        data=args.data,
        dynamic=args.dynamic_batch,
        report=args.report,
        force=args.force,
    )
    done = Pipeline(home, request, say=out.say, log=out.log, progress=out.progress).run()
    if out.json_mode:
        out.json(done)
        return ExitCode.OK
    for line in done["summary"]:
        out.data(line)
    out.say(f"report: {shown(Path(done['report']))}")
    return ExitCode.OK
