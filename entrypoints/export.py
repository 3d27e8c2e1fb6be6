"""Boot file: make a model file of a run's newest checkpoint.

python entrypoints/export.py --resume_url=outputs/RUN --data_url=/path/to/MNIST --format=onnx --train_url=models
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from typing import Any, Dict, Sequence, Tuple

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # the project, whatever the folder

from entrypoints import contract, devices, exporting
from entrypoints.application import telling
from entrypoints.application.sessions import RUNTIMES, is_there
from jobs import JobError
from jobs.models import find
from storage import is_remote, locate
from storage.transfer import download_tree

IMAGES = 1000


def run(argv: Sequence[str]) -> Dict[str, Any]:
    """Export as the arguments say; nothing is written before the model has been compared. JobError as everywhere."""
    arguments, unknown = _parse(argv)
    for argument in unknown:
        telling.note(f"ignored: {argument} is no parameter of export")
    scratch = contract.scratch_folder("export", os.environ)
    try:
        return _export(arguments, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def show(result: Dict[str, Any]) -> None:
    """The same for people."""
    check = result["check"]
    words = "not compared here: only a device runs it"
    if check:
        words = f"at most {check['max_abs_difference']:.3g} from MindSpore on {check['images']} pictures"
    print(f"{result['file']}: {result['size']} bytes, {words}", flush=True)


def _export(arguments: argparse.Namespace, scratch: str) -> Dict[str, Any]:
    source = exporting.fetch(arguments.resume_url, arguments.checkpoint, scratch)
    model = find(arguments.model or source.job, arguments.code, source.parameters)
    telling.note(f"checkpoint {source.checkpoint.file} of {source.job} is whole")
    images, _ = model.test_set(_data(arguments.data_url, scratch))
    device = devices.start(arguments.device_target, contract.Container.of(os.environ).device_id, telling.note)
    export = exporting.Export(model, source, arguments.format, arguments.dynamic, images[: arguments.images], scratch)
    telling.note(f"exporting {model.name} as {arguments.format} on {device}")
    path, sidecar = export.make()
    name = arguments.file or os.path.basename(path)
    exporting.publish(path, sidecar, arguments.train_url, name)
    return exporting.summary(sidecar, f"{arguments.train_url.rstrip('/')}/{name}")


def _data(url: str, scratch: str) -> str:
    """The folder of the data, copied here first if it is remote."""
    if not is_remote(url):
        return url
    folder = os.path.join(scratch, "data")
    os.mkdir(folder)
    storage, prefix = locate(url)
    download_tree(storage, prefix.rstrip("/"), folder)
    return folder


def _parse(argv: Sequence[str]) -> Tuple[argparse.Namespace, Sequence[str]]:
    environ = os.environ
    parser = telling.Parser(prog="export.py", description="Make a model file of a checkpoint.", allow_abbrev=False)
    text = parser.add_argument
    text("--data_url", default=environ.get("data_url", ""), metavar="FOLDER|URL", help="the job's data: its test set")
    text("--train_url", default=environ.get("train_url", ""), metavar="FOLDER|URL", help="where the model goes (.)")
    text("--resume_url", default=environ.get("resume_url", ""), metavar="FOLDER|URL", help="the output of the run")
    text("--format", default="onnx", metavar="|".join(exporting.FORMATS), help="(default: onnx)")
    text("--dynamic_batch", nargs="?", const="1", default="", metavar="yes|no", help="take any number of pictures")
    text("--checkpoint", default="", metavar="FILE", help="another checkpoint than the newest")
    text("--model", default="", metavar="JOB", help="the job whose network it is (default: the checkpoint's)")
    text("--images", type=int, default=IMAGES, metavar="N", help="test pictures to compare on (default: 1000)")
    text("--file", default="", metavar="NAME", help="of the model (default: JOB.FORMAT)")
    text("--code", default="", metavar="FOLDER", help="the project whose jobs/ has the job")
    text("--device_target", default="auto", metavar="|".join(contract.DEVICES), help="(default: the best there is)")
    text("--json", action="store_true", help="one JSON value on stdout")
    found, unknown = parser.parse_known_args(list(argv))
    found.format = found.format.lower()
    found.dynamic = found.dynamic_batch.lower() not in contract.FALSE
    found.train_url = found.train_url or os.getcwd()
    _check(found)
    return found, unknown


def _check(found: argparse.Namespace) -> None:
    if found.format not in exporting.FORMATS:
        raise JobError(f"format is {found.format!r}", "pass --format=" + ", ".join(exporting.FORMATS))
    for name, what in (("resume_url", "the output of the run to export"), ("data_url", "the job's data")):
        if not getattr(found, name):
            raise JobError(f"--{name} is missing", f"pass {what}: --{name}=...")
    if found.images < 1:
        raise JobError(f"images is {found.images}", "pass --images=1 or more")
    if os.path.basename(found.file) != found.file:
        raise JobError(f"file is {found.file!r}, which is no plain name", "pass the folder with --train_url")
    if found.format == "air" and (found.dynamic or "Ascend" not in devices.present()):
        raise JobError(
            "AIR is written where there is an Ascend only, and for a fixed batch",
            "make it in a job: python -m launcher submit export --resume RUN --set format=air --target modelarts",
        )
    if found.format == "onnx" and not is_there("onnxruntime"):
        raise JobError(
            "an ONNX model is compared with MindSpore by onnxruntime, which is not here", RUNTIMES["onnx"][2]
        )


def main(argv: Sequence[str]) -> int:
    """The exit code."""
    return telling.told(run, show, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
