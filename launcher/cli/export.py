"""``export``: a model file of a run's checkpoint, compared with MindSpore, with its sidecar."""

from __future__ import annotations

import argparse
from pathlib import Path

from launcher.cli.common import add_run, shown
from launcher.errors import ExitCode, UsageError
from launcher.output import Output


def register(parser: argparse.ArgumentParser) -> None:
    add_run(parser, nargs="?", default="@last")
    parser.add_argument("--format", default="onnx", choices=["onnx", "mindir", "air"], help="(default: onnx)")
    parser.add_argument("--dynamic-batch", action="store_true", help="let the model take any number of pictures")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: .launcher/outputs/RUN/models/…")
    parser.add_argument("--checkpoint", default="", metavar="FILE", help="another one than the newest")
    parser.add_argument("--data", default="", metavar="WHAT", help="whose test set to compare on (default: the run's)")
    parser.add_argument("--images", type=int, default=1000, metavar="N", help="test pictures to compare on")


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.devices.exporting import export
    from launcher.ledger import Ledger
    from launcher.paths import Home

    if args.images < 1:
        raise UsageError(f"--images {args.images}: from 1 on", "--images 1000")
    home = Home.find()
    with Ledger(home) as ledger:
        found = ledger.find(args.run)
    made = export(
        home,
        found,
        args.format,
        dynamic=args.dynamic_batch,
        output=args.output,
        data=args.data,
        checkpoint=args.checkpoint,
        images=args.images,
        say=out.say,
        progress=out.progress,
    )
    if out.json_mode:
        out.json(made)
        return ExitCode.OK
    out.data(shown(Path(made["file"])))
    check = made["check"]
    if check:
        out.say(
            f"at most {check['max_abs_difference']:.3g} from MindSpore's own outputs on {check['images']} test "
            f"pictures, the same class on {check['same_predictions']} ({check['runtime']})"
        )
    else:
        out.warn("not compared with MindSpore: only a device runs this format, after ATC")
    out.say(f"next: python -m launcher infer {shown(Path(made['file']))} PICTURES")
    return ExitCode.OK
