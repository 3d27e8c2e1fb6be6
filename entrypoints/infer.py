"""Boot file: run a model on pictures, or on its job's whole test set.

python entrypoints/infer.py lenet5.onnx pictures/ --outputs outputs --sheet sheet.png
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any, Dict, List, Sequence

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # the project, whatever the folder

from entrypoints.application import reading, results, sessions, sidecar, telling
from jobs import JobError
from jobs.pictures import polarity

if TYPE_CHECKING:
    from entrypoints.application.classifying import Answer


def run(argv: Sequence[str]) -> Dict[str, Any]:
    """What the arguments ask for; nothing is written unless all of it went well. JobError as everywhere."""
    arguments = _parser().parse_args(list(argv))
    polarity(arguments.polarity)
    if arguments.batch < 1 or arguments.samples < 0:
        raise JobError(f"batch is {arguments.batch}", "pass --batch=1 or more")
    path = sessions.choose(arguments.model) if os.path.isdir(arguments.model) else arguments.model
    about = _sidecar(path, arguments.code)
    result: Dict[str, Any] = {"model": path, "job": about.job, "format": about.format, "checkpoint": about.checkpoint}
    if arguments.samples:
        _require_test_set(arguments)
        from entrypoints.application.testset import write_samples

        target = arguments.outputs or "samples"
        result["samples"] = write_samples(about, arguments.test_set, arguments.code, arguments.samples, target)
        return result
    if not arguments.pictures and not arguments.test_set:
        raise JobError("there are no pictures to look at", "pass files or folders of pictures after the model")
    paths = reading.listed(arguments.pictures)
    with sessions.open_session(path, about, arguments.code, arguments.device_id) as session:
        result["runtime"] = session.runtime
        tiles: List[results.Tile] = []
        files: Dict[str, bytes] = {}
        if arguments.test_set:
            from entrypoints.application.testset import examine

            result["test_set"], tiles = examine(session, arguments.test_set, arguments.code, results.SHEET_PICTURES)
        if paths:
            answers = _classify(session, paths, arguments, result)
            tiles = results.tiles(answers, about.classes) + tiles
            if arguments.outputs:
                files = results.texts(arguments.outputs, answers, about.classes)
                result["outputs"] = list(files)
            if arguments.bench:
                from entrypoints.application.benchmark import measure

                result["bench"] = measure(session, path, paths, arguments.polarity, arguments.batch)
    if arguments.sheet:
        of = len(paths) + result.get("test_set", {}).get("pictures", 0)
        files[arguments.sheet] = results.sheet(tiles, f"{os.path.basename(path)} by {result['runtime']}", of)
        result["sheet"] = arguments.sheet
    results.write(files)
    return result


def show(result: Dict[str, Any]) -> None:
    """The same for people."""
    for sample in result.get("samples", ()):
        print(f"{sample['file']}  {sample['class']}")
    for picture in result.get("pictures", ()):
        inverted = "  (inverted)" if picture["inverted"] else ""
        print(f"{picture['file']}: {picture['class']}{inverted}")
        for rank in picture["top"]:
            print(f"  label:{rank['index']}  confidence: {rank['confidence']:.6f}, class: {rank['class']}")
    if "test_set" in result:
        found = result["test_set"]
        print(f"{found['correct']} of {found['pictures']} test pictures: accuracy {found['accuracy']:.4f}")
    if "bench" in result:
        print(f"pictures a second: {result['bench']['images_per_second']}")


def _classify(
    session: sessions.Session, paths: Sequence[str], arguments: argparse.Namespace, result: Dict[str, Any]
) -> List[Answer]:
    from entrypoints.application.classifying import timed

    answers, seconds = timed(session, paths, arguments.polarity, arguments.batch)
    result["pictures"] = [answer.to_json(session.sidecar.classes) for answer in answers]
    result["seconds"] = round(seconds, 4)
    result["images_per_second"] = round(len(paths) / max(seconds, 1e-9), 1)
    return answers


def _sidecar(path: str, code: str) -> sidecar.Sidecar:
    if not path.endswith(".ckpt"):
        return sidecar.read(path)
    from entrypoints.application.framework import sidecar_of_checkpoint

    return sidecar_of_checkpoint(path, code)


def _require_test_set(arguments: argparse.Namespace) -> None:
    if not arguments.test_set:
        raise JobError("--samples needs the test set", "pass --test-set=FOLDER")


def _parser() -> argparse.ArgumentParser:
    parser = telling.Parser(prog="infer.py", description="Run a model on pictures.", allow_abbrev=False)
    text = parser.add_argument
    text("model", metavar="MODEL", help="a model file, a checkpoint, or a folder: the best model that can run here")
    text("pictures", nargs="*", metavar="PICTURE", help="files, or folders of them")
    text("--polarity", default="auto", metavar="HOW", help="auto, dark-on-light or light-on-dark (default: auto)")
    text("--outputs", default="", metavar="FOLDER", help="a text file for each picture, with its class")
    text("--sheet", default="", metavar="FILE", help="a contact sheet, as PNG")
    text("--batch", type=int, default=sessions.AT_ONCE, metavar="N", help="pictures read at a time")
    text("--bench", action="store_true", help="measure pictures a second")
    text("--test-set", default="", metavar="FOLDER", help="the job's data: run over its test pictures")
    text("--samples", type=int, default=0, metavar="N", help="write N test pictures to --outputs, and stop")
    text("--code", default="", metavar="FOLDER", help="the project whose jobs/ has the model's job")
    text("--device-id", type=int, default=int(os.environ.get("DEVICE_ID") or 0), metavar="N", help="of an Ascend")
    text("--json", action="store_true", help="one JSON value on stdout")
    return parser


def main(argv: Sequence[str]) -> int:
    """The exit code."""
    return telling.told(run, show, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
