"""ATC, CANN's model compiler: its command line, where it is, and what its error codes mean. Pure, but for looking."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

FRAMEWORKS = {"air": 1, "mindir": 1, "onnx": 5}
"""--framework: 1 is MindSpore, whose file is an AIR (a version that takes MindIR takes it under the same number)."""
BATCH_SIZES = (1, 2, 4, 8)
"""What a model of any batch is compiled for, unless somebody says otherwise."""

SCRIPTS = (
    "$ASCEND_TOOLKIT_HOME/../set_env.sh", "$ASCEND_TOOLKIT_HOME/set_env.sh", "$ASCEND_HOME_PATH/set_env.sh",
    "~/Ascend/ascend-toolkit/set_env.sh", "/usr/local/Ascend/ascend-toolkit/set_env.sh",
    "~/Ascend/cann/set_env.sh", "/usr/local/Ascend/cann/set_env.sh",
)  # fmt: skip
"""Where CANN's script for the environment lies."""
VARIABLES = ("ASCEND_OPP_PATH", "ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH")
"""Of which ATC needs one to find its operators; the script sets them all, LD_LIBRARY_PATH and PYTHONPATH too."""

EXPLANATIONS = {
    "E10001": ("a parameter has a value that ATC does not take", "compare it with atc --help on that machine"),
    "E10002": ("--input_shape is not written as NAME:N,C,H,W", "pass no shape of your own: the sidecar has it"),
    "E10003": ("a parameter has a value that ATC does not take", "compare it with atc --help on that machine"),
    "E10004": ("a parameter is empty", "look at the printed command"),
    "E10005": ("a parameter must be true or false", "look at what you passed after --"),
    "E10006": ("a parameter must be 1 or 0", "look at what you passed after --"),
    "E10007": ("a parameter is missing", "pass it after --"),
    "E10009": ("two ways of a dynamic shape were given at once", "leave one of them away"),
    "E10011": ("--input_shape has a side of -1 and no batch sizes", "pass --batch-sizes, or export a fixed batch"),
    "E10012": ("batch sizes were given for a model of a fixed batch", "leave --batch-sizes away"),
    "E10013": ("a parameter is out of range", "compare it with atc --help on that machine"),
    "E10014": ("a parameter has a value that ATC does not take", "compare it with atc --help on that machine"),
    "E10016": ("a name is not found in the model", "export the model again: its input may have another name"),
    "E10021": ("a path is too long", "use a shorter folder: --output"),
    "E10031": ("batch sizes were given for a model of a fixed batch", "leave --batch-sizes away"),
    "E10049": ("--input_shape has more or fewer sides than the model's input", "export the model again"),
    "E10054": ("ATC read one of its parameters as empty", "look at the quotation marks of the printed command"),
    "E10055": ("ATC cannot do that with this model or soc", "look at --soc, and at the reason that ATC gives"),
    "E10410": ("a file that a parameter names is not there", "look at what you passed after --"),
    "E10501": ("an operator is not known to this CANN", "source set_env.sh (ASCEND_OPP_PATH), or install a newer CANN"),
    "E13000": ("a path is empty or is not there", "look at --output and at the model's path"),
    "E13001": ("a file cannot be opened", "look at its owner and permissions: ls -l"),
    "E13003": ("a file cannot be read", "look at its owner and permissions: ls -l"),
    "E13004": ("a file cannot be written", "free space, or pass another folder: --output"),
    "E13005": ("the file is no model of that framework", "export it again; AIR and MindIR are 1, ONNX is 5"),
    "E13010": ("an operator has no plugin in this CANN", "install a newer CANN, or export to ONNX"),
    "E13024": ("an environment variable has a value that ATC does not take", "source set_env.sh in a fresh shell"),
    "E14001": ("an operator's attribute or shape does not fit", "export a fixed batch, or install a newer CANN"),
    "E16001": ("the ONNX model has no input or output node", "export the model again"),
    "E16002": ("this CANN knows no such ONNX operator", "install a newer CANN"),
    "E16004": ("the file has no ONNX graph", "export the model again"),
    "E16005": ("the ONNX model names more than one operator set", "export the model again"),
    "E19010": ("no parser is known for an operator", "install a newer CANN"),
    "E19999": ("something failed inside ATC", "look at its log: ~/ascend/log, or pass --log=debug after --"),
    "E40021": ("an operator could not be compiled for this soc", "look at --soc, and at ~/ascend/log"),
    "EZ3003": ("an operator is not supported on this soc", "look at --soc; install that chip's operators"),
    "EZ9999": ("something failed inside the operators' compiler", "look at its log: ~/ascend/log"),
}  # fmt: skip
"""Code -> what it says, what mends it. After the error table of CANN's graph engine, which is public."""

_CODE = re.compile(r"\b(E[0-9A-Z][0-9]{4})\b")
_SOC = re.compile(r"Ascend[0-9]{3}[A-Za-z0-9_]*")


class Command(msgspec.Struct, frozen=True):
    """One call of ATC. ``output`` is without the ``.om`` that ATC adds."""

    model: str
    output: str
    soc: str
    sidecar: Mapping[str, Any]
    batch_sizes: tuple[int, ...] = ()
    more: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """The command line."""
        form = self.sidecar["format"]
        words = ["atc", f"--framework={FRAMEWORKS[form]}", f"--model={self.model}", f"--output={self.output}"]
        words.append(f"--soc_version={self.soc}")
        if form != "air":  # an AIR has its shape inside
            shape = ",".join(str(-1 if side is None else side) for side in self.sidecar["input"]["shape"])
            words += ["--input_format=NCHW", f"--input_shape={self.sidecar['input']['name']}:{shape}"]
        if self.batch_sizes:
            words.append("--dynamic_batch_size=" + ",".join(str(size) for size in self.batch_sizes))
        return [*words, "--output_type=FP32", "--log=error", *self.more]


def soc_problem(soc: str) -> str:
    """What is wrong with the name of a soc; empty if nothing is."""
    return "" if _SOC.fullmatch(soc) else f"{soc!r} is no soc version such as Ascend310, Ascend310P3 or Ascend910B1"


def find(environ: Mapping[str, str]) -> tuple[str, str]:
    """``atc`` on PATH, and CANN's script for the environment; each empty where there is none."""
    program = shutil.which("atc", path=environ.get("PATH")) or ""
    for pattern in SCRIPTS:
        path = Path(os.path.expanduser(_expanded(pattern, environ)))
        if "$" not in str(path) and path.is_file():
            return program, os.path.normpath(path)
    return program, ""


def explain(text: str, code: int) -> tuple[str, str]:
    """What ATC's output says went wrong, and what mends it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in lines:
        for found in _CODE.findall(line):
            if found in EXPLANATIONS:
                meaning, hint = EXPLANATIONS[found]
                return f"ATC {found}: {meaning} ({_reason(line, found)})", hint
    if code == 127 or "command not found" in text or "libascend" in text or "error while loading shared" in text:
        return "ATC could not be started: " + (lines[-1] if lines else f"exit code {code}"), "source CANN's set_env.sh"
    last = next(
        (line for line in reversed(lines) if "rror" in line or "fail" in line.lower()), lines[-1] if lines else ""
    )
    return f"ATC ended with {code}{': ' + last if last else ''}", "look at its log: ~/ascend/log"


def _reason(line: str, code: str) -> str:
    return line.partition(code)[2].lstrip(":] ").strip() or line


def _expanded(pattern: str, environ: Mapping[str, str]) -> str:
    for name in VARIABLES:
        if environ.get(name):
            pattern = pattern.replace("$" + name, environ[name])
    return pattern


def shell_words(words: Sequence[str], script: str) -> list[str]:
    """A command in CANN's environment; its script is bash's."""
    if not script:
        return list(words)
    return ["bash", "-c", '. "$0" >/dev/null 2>&1; exec "$@"', script, *words]
