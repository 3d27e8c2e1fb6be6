"""One node of a run that has several devices: the boot file once for each, as ModelArts' own launcher starts it.

``python ranks.py FIRST COUNT FAILED COMMAND…`` starts ``COUNT`` processes, the ranks from ``FIRST`` on, in this process
group, so that one signal reaches all. When one ends with an error, the rest can only wait for it for ever: they are
asked to end, and killed if they do not; its rank is written to the file ``FAILED``, its exit code is this process's.

With ``MA_RUN_METHOD=msrun`` in the environment each is started as msrun would start it, and on the first node the
scheduler too. (msrun itself cannot be had for nodes that share an address, and ends a minute after a rank has died.)
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

GRACE_SECONDS = 15.0
"""What the rest have between SIGTERM and SIGKILL once one has failed."""
LOOK_SECONDS = 0.1


def main(arguments: Sequence[str]) -> int:
    """The exit code: that of the first rank to fail, else 0."""
    first, count, failed, command = int(arguments[0]), int(arguments[1]), arguments[2], list(arguments[3:])
    signal.signal(signal.SIGTERM, lambda *_: None)  # it went to the whole group: this process waits for the rest
    by_msrun = os.environ.get("MA_RUN_METHOD") == "msrun"
    scheduler = None
    if by_msrun and first == 0:
        scheduler = subprocess.Popen(command, env={**os.environ, **_msrun("MS_SCHED", 0)})
    ranks = {}
    for device in range(count):
        rank = first + device
        own = {"RANK_ID": str(rank), "DEVICE_ID": str(device), "ASCEND_DEVICE_ID": str(device)}
        role = _msrun("MS_WORKER", rank) if by_msrun else {}
        ranks[rank] = subprocess.Popen(command, env={**os.environ, **own, **role})
    code = _watch(ranks, first, failed)
    if scheduler is not None:
        scheduler.kill()
        scheduler.wait()
    return code


def _watch(ranks: dict[int, subprocess.Popen[bytes]], first: int, failed: str) -> int:
    code, kill_at = 0, float("inf")
    while None in [process.poll() for process in ranks.values()]:
        for rank, process in ranks.items():
            if process.returncode and not code:
                code, kill_at = _shown(process.returncode), time.monotonic() + GRACE_SECONDS
                with contextlib.suppress(OSError), open(failed, "w") as file:
                    file.write(str(rank))
                what = f"proc-rank-{rank}-device-{rank - first} (pid: {process.pid}) has exited with {code}"
                with contextlib.suppress(OSError):
                    os.write(2, f"[ModelArts Service Log]{what}\n".encode())
                for other in ranks.values():
                    other.send_signal(signal.SIGTERM)
        if time.monotonic() > kill_at:
            for process in ranks.values():
                process.kill()
        time.sleep(LOOK_SECONDS)
    return code or max(_shown(process.returncode) for process in ranks.values())


def _msrun(role: str, rank: int) -> dict[str, str]:
    size = os.environ["RANK_SIZE"]
    return {"MS_ROLE": role, "MS_WORKER_NUM": size, "MS_NODE_ID": str(rank), "MS_TOPO_TIMEOUT": "600"}


def _shown(code: int) -> int:
    """As a shell tells it: 128 + n for signal n."""
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
