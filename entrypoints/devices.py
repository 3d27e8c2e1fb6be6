"""The device and the MindSpore under a run: chosen, checked, and made fast before MindSpore is imported.

Two things that pip alone gets wrong, measured in `docs/decisions/0002`:

  - MindSpore up to 2.10 is built for NumPy 1; 2.9 and 2.10 let pip install NumPy 2 all the same, and then fail in the
    middle.
  - MindSpore 2.9 and 2.10 carry a oneDNN that falls back to a scalar kernel for LeNet's convolutions on AVX-512
    processors: up to 32 times slower. ONEDNN_MAX_CPU_ISA=AVX2 mends that, if it is set before the import. 2.8 and
    older do not read it.
"""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import os
import re
import sys
import tempfile
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, Union

from jobs import JobError

Note = Callable[[str], None]

FAST_ISA = "AVX2"
LAST_BUILT_FOR_NUMPY_1 = (2, 10)

ABSENT = "there is no such device"
MISHAPS = (
    (
        r"device is occupied|is occupied by|resource busy",
        "the device is occupied: another process trains on it",
        "npu-smi info (or nvidia-smi) names that process; end it, or set DEVICE_ID to another device",
    ),
    (
        r"out of memory|memory (is |)(not|isn't) enough|bad_alloc|cannot allocate memory|alloc\w* [\w ]*failed",
        "out of memory",
        "train on a larger machine, or with a smaller --batch_size or --image_size",
    ),
    (
        r"no (available )?device|invalid device id|device_?id .*(out of range|not exist)|drv\w* failed",
        ABSENT,
        "npu-smi info (or nvidia-smi) lists the devices; set DEVICE_ID to one of them, or pass --device_target=auto",
    ),
)
"""What drivers and allocators say, in many more lines, when a device cannot be had: a pattern, what it means, what to
do. `Device is occupied` is what people report of ModelArts; no words of a driver could be tried without its device.
"""


def start(target: str, device_id: int, note: Note) -> str:
    """Import MindSpore, set it to graph mode on a device, and name that device: Ascend, GPU or CPU.

    `target` is one of them, or `auto` for the best that works here. JobError if there is no MindSpore, if it cannot
    work with this NumPy, or if the device that was asked for cannot be had: never another one instead.
    """
    version = check_versions()
    set_environment(target, version, note)
    import mindspore

    candidates = present() if target == "auto" else [target]
    for device in candidates:
        try:
            with _quietly():
                _select(mindspore, device, device_id)
        except (RuntimeError, ValueError) as error:
            known = mishap(error)
            if known and (target != "auto" or not known.message.startswith(ABSENT)):
                raise known from error  # a device that is there and busy is no reason to train on a CPU for days
            if target != "auto":
                raise JobError(
                    f"device_target is {target}, which MindSpore {version} cannot use here: {_reason(error)}",
                    f"pass --device_target=auto, or install a MindSpore with {target} support and its drivers",
                ) from error
            note(f"{device} is there, but MindSpore {version} cannot use it: {_reason(error)}")
            continue
        mindspore.set_context(mode=mindspore.GRAPH_MODE)
        return device
    raise JobError(f"MindSpore {version} can use no device here", "LAUNCHER_DEBUG=1 shows what it tried")


def describe(device: str) -> Dict[str, Union[int, str]]:
    """What the last bits of a training depend on besides its parameters."""
    import mindspore

    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"device": device, "cpus": cpus, "mindspore": str(mindspore.__version__)}


def mishap(error: BaseException) -> Optional[JobError]:
    """The two lines for an error of MindSpore's or the system's that MISHAPS knows; None for any other."""
    if isinstance(error, MemoryError):
        return JobError(*MISHAPS[1][1:])
    if not isinstance(error, RuntimeError):
        return None
    text = str(error)
    for pattern, message, hint in MISHAPS:
        if re.search(pattern, text, re.IGNORECASE):
            return JobError(f"{message} ({_reason(error)})", hint)
    return None


def present() -> List[str]:
    """The devices whose driver is there, best first. Cheap: it looks for device files only."""
    drivers = (("Ascend", "/dev/davinci[0-9]*"), ("GPU", "/dev/nvidia[0-9]*"))
    return [device for device, files in drivers if glob.glob(files)] + ["CPU"]


def check_versions() -> str:
    """The version of the MindSpore that an import would load, which it does not do. JobError if it cannot work."""
    version = _mindspore_version()
    import numpy

    if int(numpy.__version__.split(".")[0]) >= 2 and _parts(version) <= LAST_BUILT_FOR_NUMPY_1:
        raise JobError(
            f"MindSpore {version} is built for NumPy 1 and fails with NumPy {numpy.__version__}",
            f'{sys.executable} -m pip install "numpy<2"',
        )
    return version


def set_environment(target: str, version: str, note: Note) -> None:
    """Set what has to be set before the import; what the user has set stays."""
    os.environ.setdefault("GLOG_v", "3")  # errors only: its warnings are about itself
    if target not in ("auto", "CPU"):
        return
    isa = os.environ.setdefault("ONEDNN_MAX_CPU_ISA", FAST_ISA)
    if isa.upper().startswith(("AVX512", "AVX10", "ALL", "DEFAULT")) and (2, 9) <= _parts(version) <= (2, 10):
        note(f"MindSpore {version} is slow with ONEDNN_MAX_CPU_ISA={isa}; unset it, or set it to {FAST_ISA}")


def _mindspore_version() -> str:
    found = importlib.util.find_spec("mindspore")
    folders = list(found.submodule_search_locations or ()) if found else []
    for folder in folders:
        path = os.path.join(folder, "version.py")
        if os.path.isfile(path):
            with open(path, encoding="utf-8") as file:
                match = re.search(r"__version__\s*=\s*['\"]([^'\"]+)", file.read())
            if match:
                return match.group(1)
    raise JobError(
        f"MindSpore is not installed for {sys.executable}",
        f'{sys.executable} -m pip install "mindspore==2.8.0" "numpy<2"',
    )


def _select(mindspore: Any, device: str, device_id: int) -> None:
    """`set_device` came with MindSpore 2.5 or so; ModelArts' images have older ones."""
    if not hasattr(mindspore, "set_device"):
        mindspore.set_context(device_target=device, device_id=device_id)
    elif device == "CPU":
        mindspore.set_device(device)
    else:
        mindspore.set_device(device, device_id)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Hold back what libraries write to stderr; drop it if the block fails, since its exception says the same."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
            sys.stderr.flush()
            held.seek(0)
            os.write(kept, held.read())
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def _parts(version: str) -> Tuple[int, ...]:
    """Major and minor."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def first_line(text: str) -> str:
    """The first line that says something, "" if none does: MindSpore's errors begin with rules and headings."""
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if re.search(r"\w", line) and not re.match(r"- .*:$", line)), "")


def _reason(error: BaseException) -> str:
    return first_line(str(error)) or type(error).__name__
