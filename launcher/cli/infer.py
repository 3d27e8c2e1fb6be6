"""``infer``: a model on pictures: the likeliest classes, a text file each, a contact sheet, JSON."""

from __future__ import annotations

import argparse
import os
from typing import Any

from launcher.errors import ExitCode, UsageError
from launcher.output import Output


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model file, a folder of them, a checkpoint, or a run")
    parser.add_argument("pictures", nargs="*", metavar="PICTURE", help="files of any size and kind, or folders of them")
    parser.add_argument(
        "--polarity",
        default="auto",
        choices=["auto", "dark-on-light", "light-on-dark"],
        help="of the pictures (default: look at each)",
    )
    parser.add_argument("--outputs", metavar="FOLDER", help="where the text files go (default: outputs)")
    parser.add_argument("--no-outputs", action="store_true", help="write no text files")
    parser.add_argument("--sheet", metavar="FILE", help="a contact sheet with what each picture is taken for, as PNG")
    parser.add_argument("--batch", type=int, default=256, metavar="N", help="pictures read at a time (default: 256)")
    parser.add_argument("--bench", action="store_true", help="measure pictures a second, against a plain loop")
    parser.add_argument("--test-set", metavar="WHAT", help="a data set or its folder: run over all its test pictures")


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.devices.inferring import infer, test_set
    from launcher.paths import Home

    if not args.pictures and not args.test_set:
        raise UsageError("infer needs pictures", f"python -m launcher infer {args.model} FOLDER")
    if args.batch < 1:
        raise UsageError(f"--batch {args.batch}: from 1 on", "--batch 256")
    flags = ["--polarity", args.polarity, "--batch", str(args.batch)]
    if args.pictures and not args.no_outputs:
        flags += ["--outputs", args.outputs or "outputs"]
    flags += ["--sheet", args.sheet] if args.sheet else []
    flags += ["--bench"] if args.bench else []
    flags += ["--test-set", test_set(args.test_set, out.say, out.progress)] if args.test_set else []
    with out.busy("loading the model, looking at pictures"):
        answer = infer(Home.find(), args.model, args.pictures, flags, out.say)
    if out.json_mode:
        out.json(answer)
    else:
        show(answer, out)
    return ExitCode.OK


def show(answer: dict[str, Any], out: Output) -> None:
    """The answer for people."""
    table(answer.get("pictures", []), out)
    found = answer.get("test_set")
    if found:
        out.data(f"{found['correct']} of {found['pictures']} test pictures right: accuracy {found['accuracy']:.4f}")
    bench = answer.get("bench")
    if bench:
        speed = bench["images_per_second"]
        out.data(f"files to classes   {speed['files']:>10.0f} pictures/s")
        out.data(f"the model alone    {speed['model']:>10.0f} pictures/s")
        if speed["plain_loop"]:
            times = bench["against_plain_loop"]
            out.data(f"plain onnxruntime  {speed['plain_loop']:>10.0f} pictures/s; ours is {times} x that")
    folders = sorted({os.path.dirname(path) for path in answer.get("outputs", [])})
    out.say(f"{answer['model']} by {answer['runtime']}" + (f"; text files: {', '.join(folders)}" if folders else ""))
    if "sheet" in answer:
        out.say(f"contact sheet: {answer['sheet']}")


def table(pictures: list[dict[str, Any]], out: Output) -> None:
    """A line a picture: its class, and the five likeliest with their confidences."""
    rows = []
    for picture in pictures:
        top = "  ".join(f"{rank['class']} {rank['confidence']:.4f}" for rank in picture["top"])
        expected = picture.get("expected")
        mark = "" if expected is None else "ok" if expected == picture["class"] else f"is {expected}"
        rows.append([_shown(picture["file"]), picture["class"], mark, "inverted" if picture["inverted"] else "", top])
    if rows:
        out.table(["picture", "class", "", "", "top 5"], rows)


def _shown(name: str) -> str:
    """A file's name in a line; whoever named it may have written a terminal's commands."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)
