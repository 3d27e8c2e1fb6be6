"""One node of a run that has several devices: the boot file once for each, as ModelArts' own launcher starts it.

``python ranks.py FIRST COUNT FAILED COMMAND…`` starts ``COUNT`` processes, the ranks from ``FIRST`` on, in this process
group, so that one signal reaches all. When one ends with an error, the rest can only wait for it for ever: they are
asked to end, and killed if they do not; its rank is written to the file ``FAILED``, its exit code is this process's.
What they print comes out of this process line by line, so that no two ranks share a line.

With ``MA_RUN_METHOD=msrun`` in the environment each is started as msrun would start it, and on the first node the
scheduler too. (msrun itself cannot be had for nodes that share an address, and ends a minute after a rank has died.)
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

GRACE_SECONDS = 15.0
"""What the rest have between SIGTERM and SIGKILL once one has failed."""
LOOK_SECONDS = 0.1
LINGER_SECONDS = 1.0
"""What is waited for the last lines of ranks that have ended: what one of them left running never closes its output."""
LONGEST_LINE = 1 << 20
"""Bytes; of a longer line the beginning goes out before its end is there."""

PRINTING = threading.Lock()

Ranks = dict[int, "subprocess.Popen[bytes]"]


def main(arguments: Sequence[str]) -> int:
    """The exit code: that of the first rank to fail, else 0."""
    first, count, failed, command = int(arguments[0]), int(arguments[1]), arguments[2], list(arguments[3:])
    asked: list[int] = []  # a SIGTERM goes to the whole group: this process only waits for the rest
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    by_msrun = os.environ.get("MA_RUN_METHOD") == "msrun"
    scheduler = None
    readers: list[threading.Thread] = []
    if by_msrun and first == 0:
        scheduler = _start(command, _msrun("MS_SCHED", 0), readers)
    ranks = {}
    for device in range(count):
        rank = first + device
        own = {"RANK_ID": str(rank), "DEVICE_ID": str(device), "ASCEND_DEVICE_ID": str(device)}
        role = _msrun("MS_WORKER", rank) if by_msrun else {}
        ranks[rank] = _start(command, {**own, **role}, readers)
    if asked:  # perhaps before some of them were there to hear it
        _send(ranks, signal.SIGTERM)
    code = _watch(ranks, first, failed, asked)
    if scheduler is not None:
        _send({0: scheduler}, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            scheduler.wait(GRACE_SECONDS)
        scheduler.kill()
    last = time.monotonic() + LINGER_SECONDS
    for reader in readers:
        reader.join(max(0.0, last - time.monotonic()))
    return code


def _start(command: list[str], own: dict[str, str], readers: list[threading.Thread]) -> subprocess.Popen[bytes]:
    """One process, and the thread that passes on what it prints."""
    out, into = os.pipe()
    try:
        process = subprocess.Popen(  # with the job's lock: whatever is left of the job holds it
            command, env={**os.environ, **own}, stdout=into, stderr=into, close_fds=False
        )
    finally:
        os.close(into)
    readers.append(threading.Thread(target=_pass_on, args=(out,), daemon=True))
    readers[-1].start()
    return process


def _pass_on(out: int) -> None:
    """Whole lines, until all who could print have closed ``out``; that a full disk takes none of them ends no job."""
    rest = b""
    while chunk := os.read(out, 1 << 16):
        lines, newline, rest = (rest + chunk).rpartition(b"\n")
        if len(rest) >= LONGEST_LINE:
            lines, newline, rest = lines + newline + rest, b"", b""
        _print(lines + newline)
    _print(rest + b"\n" * bool(rest))


def _print(lines: bytes) -> None:
    with contextlib.suppress(OSError), PRINTING:
        while lines:
            lines = lines[os.write(1, lines) :]


def _watch(ranks: Ranks, first: int, failed: str, asked: list[int]) -> int:
    code, kill_at = 0, float("inf")
    while True:
        going = None in [process.poll() for process in ranks.values()]
        ended = {rank: process.returncode for rank, process in ranks.items() if process.returncode}
        if ended and not code:
            rank = min(ended, key=lambda rank: (ended[rank] > 0, rank))  # one that was killed, before those who noticed
            code, kill_at = _shown(ended[rank]), time.monotonic() + GRACE_SECONDS
            if not asked:
                _tell(rank, ranks[rank].pid, rank - first, code, failed)
                _send(ranks, signal.SIGTERM)
        if not going:
            return code
        if time.monotonic() > kill_at:
            _send(ranks, signal.SIGKILL)
        time.sleep(LOOK_SECONDS)


def _tell(rank: int, pid: int, device: int, code: int, failed: str) -> None:
    with contextlib.suppress(OSError):  # a full disk has no place for it
        with open(failed, "w") as file:
            file.write(str(rank))
        what = f"proc-rank-{rank}-device-{device} (pid: {pid}) has exited with {code}"
        _print(f"[ModelArts Service Log]{what}\n".encode())


def _send(ranks: Ranks, number: int) -> None:
    for process in ranks.values():
        process.send_signal(number)  # which does nothing to one that has ended


def _msrun(role: str, rank: int) -> dict[str, str]:
    size = os.environ["RANK_SIZE"]
    return {"MS_ROLE": role, "MS_WORKER_NUM": size, "MS_NODE_ID": str(rank), "MS_TOPO_TIMEOUT": "600"}


def _shown(code: int) -> int:
    """As a shell tells it: 128 + n for signal n."""
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
