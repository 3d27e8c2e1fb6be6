"""``deploy``: a run's model to a device, run there on pictures, the results home."""

from __future__ import annotations

import argparse
from pathlib import Path

from launcher.cli.common import add_run, add_ssh, shown, ssh_of
from launcher.errors import ExitCode
from launcher.output import Output


def register(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("host", metavar="HOST", help="a host of ssh's configuration, or user@address")
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="this model (default: made of the newest checkpoint)"
    )
    parser.add_argument("--pictures", nargs="+", default=[], metavar="PICTURE", help="default: ten of the test set")
    parser.add_argument("--folder", default="", metavar="FOLDER", help="there (default: HIAI_PROJECTS/JOB)")
    parser.add_argument("--soc", default="Ascend310", metavar="VERSION", help="of the device (default: Ascend310)")
    parser.add_argument("--env", default="", metavar="WORDS", help="what sets the environment, where it is not found")
    parser.add_argument("--data", default="", metavar="WHAT", help="where the test pictures come from")
    parser.add_argument(
        "--polarity", default="auto", choices=["auto", "dark-on-light", "light-on-dark"], help="of the pictures"
    )
    add_ssh(parser)


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.cli.infer import table
    from launcher.devices.deploy import Request, deploy
    from launcher.ledger import Ledger
    from launcher.paths import Home

    home = Home.find()
    with Ledger(home) as ledger:
        found = ledger.find(args.run)
    request = Request(
        found,
        ssh_of(args, args.host),
        soc=args.soc,
        model=args.model,
        pictures=args.pictures,
        folder=args.folder,
        data=args.data,
        env=args.env,
        polarity=args.polarity,
    )
    done = deploy(home, request, out.say, out.progress)
    if out.json_mode:
        out.json(done)
        return ExitCode.OK
    table(done["pictures"], out)
    right = "" if done["right"] is None else f", {done['right']} of {len(done['pictures'])} right"
    out.say(f"{done['model']['file']} by {done['runtime']} on {done['host']}{right}")
    out.say(f"results: {shown(Path(done['results']))}")
    return ExitCode.OK
