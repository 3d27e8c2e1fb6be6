"""MindSpore's scheduler, by which the ranks of a training find each other: msrun's, or the first rank's own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import List, MutableMapping, Optional

from jobs import JobError

from .contract import Container

ROLE = "MS_ROLE"
SCHEDULER = "MS_SCHED"
WORKER = "MS_WORKER"
LOOPBACK = "127.0.0.1"
PORT = "8118"
"""Where the scheduler listens if nothing says so: msrun's own default."""

PARENT = "LAUNCHER_SCHEDULER_OF"
"""Of the scheduler that a first rank has started: the id of that process."""

MEET_SECONDS = 600
"""How long ranks wait for each other: to meet, as msrun does by default, and within a step. MindSpore's own 30 s on a
CPU are less than the first rank may take to send a checkpoint."""

LOOK_SECONDS = 0.5
"""How often the scheduler looks whether it is still needed."""
PORT_SECONDS = 5.0
"""How long a port may still be taken, by the scheduler of a run that has just ended."""
PR_SET_PDEATHSIG = 1
"""Of Linux: the signal that a process gets when its parent has ended."""


def is_scheduler() -> bool:
    """Whether this process was started with the boot file only to be the scheduler."""
    return os.environ.get(ROLE) == SCHEDULER


def schedule() -> int:
    """Be the scheduler, until all ranks have ended; the exit code.

    MindSpore's own is a child: it notices a rank that died after half a minute or more, and msrun, which has ended the
    others at once, waits for it; nor would it hear a signal. So it is ended when those are gone for which it is there.
    """
    environ = {**os.environ, "MS_TOPO_TIMEOUT": os.environ.get("MS_TOPO_TIMEOUT", str(MEET_SECONDS))}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    parent, started = int(os.environ.get(PARENT) or os.getppid()), False
    child = subprocess.Popen([sys.executable, "-c", "import mindspore.communication as c; c.init()"], env=environ)
    try:
        while child.poll() is None and os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
            if _is_msrun(parent):
                others = _live_children(parent) - {os.getpid()}
                if started and not others:
                    break
                started = started or bool(others)
    finally:
        code = child.poll()
        child.kill()
        child.wait()
    return code or 0


def follow_msrun() -> None:
    """Be asked to end when msrun has ended. It has its workers in sessions of their own and passes SIGTERM on to none:
    they would train on, and publish, for as long as they can.
    """
    parent = os.getppid()
    if os.environ.get(ROLE) != WORKER or not _is_msrun(parent):
        return
    import ctypes

    if ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM) == 0 and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def use_scheduler(environ: MutableMapping[str, str], container: Container) -> "Optional[subprocess.Popen[bytes]]":
    """What msrun does, for this process; the first rank starts the scheduler too."""
    host = environ.get("MS_SCHED_HOST") or environ.get("VC_WORKER_HOSTS", "").split(",")[0]
    if not host and container.size > ranks_a_node(container, environ):
        raise JobError(
            f"nothing says where the {container.size} processes of this run meet",
            "set MS_SCHED_HOST to the address of the first one's machine",
        )
    environ["MS_SCHED_HOST"] = _address(host or LOOPBACK)
    environ.setdefault("MS_SCHED_PORT", PORT)
    environ.setdefault("MS_TOPO_TIMEOUT", str(MEET_SECONDS))
    environ.setdefault("MS_NODE_TIMEOUT", str(MEET_SECONDS))
    environ["MS_WORKER_NUM"] = str(container.size)
    scheduler = None
    if container.rank == 0:
        _check_port(environ["MS_SCHED_HOST"], environ["MS_SCHED_PORT"])
        scheduler = subprocess.Popen(
            [sys.executable, os.path.abspath(sys.argv[0])],
            env={**environ, ROLE: SCHEDULER, PARENT: str(os.getpid()), "GLOG_v": "4"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    environ[ROLE] = WORKER
    environ["MS_NODE_ID"] = str(container.rank)
    return scheduler


def watch(scheduler: "subprocess.Popen[bytes]", left: threading.Event) -> None:
    """End this process, with two lines, when the scheduler ends before all ranks have come to their end: without it
    they wait for each other, until MindSpore's own code fails.
    """

    def wait() -> None:
        code = scheduler.wait()
        if not left.is_set():
            message = f"MindSpore's scheduler, by which the processes of this run meet, ended with {code}"
            os.write(2, f"error: rank 0: {message}\nhint: start again with --resume\n".encode())
            os._exit(1)

    threading.Thread(target=wait, name="scheduler", daemon=True).start()


def await_scheduler(environ: MutableMapping[str, str], scheduler: "Optional[subprocess.Popen[bytes]]") -> None:
    """Until it listens: MindSpore, when it finds nobody there, tries again only much later. JobError if it never does.

    `scheduler` is the process, where it is this one's.
    """
    host, port = environ.get("MS_SCHED_HOST", LOOPBACK), environ.get("MS_SCHED_PORT", PORT)
    deadline = time.monotonic() + MEET_SECONDS
    while True:
        ended = scheduler.poll() if scheduler else None
        if ended is not None or time.monotonic() > deadline:
            how = f"ended with {ended}" if ended is not None else f"was not there in {MEET_SECONDS} s"
            raise JobError(
                f"MindSpore's scheduler, by which the processes of this run meet at {host}:{port}, {how}",
                "set MS_SCHED_PORT to a free port",
            )
        if _listens(host, port):
            return
        time.sleep(0.1)


def _check_port(host: str, port: str) -> None:
    """JobError if somebody else listens there, whom all ranks would take for the scheduler."""
    deadline = time.monotonic() + PORT_SECONDS
    while _listens(host, port):
        if time.monotonic() > deadline:
            raise JobError(
                f"another program listens at {host}:{port}, where the processes of this run meet",
                "set MS_SCHED_PORT to a free port",
            )
        time.sleep(0.1)


def _listens(host: str, port: str) -> bool:
    """Whether somebody does, there."""
    try:
        socket.create_connection((host, int(port)), 5).close()
    except OSError:
        return False
    return True


def _address(host: str) -> str:
    """MindSpore takes no names. One that is not known yet is asked for again: its machine may be on its way."""
    deadline = time.monotonic() + MEET_SECONDS
    while True:
        try:
            return socket.gethostbyname(host)
        except OSError as error:
            if time.monotonic() > deadline:
                raise JobError(
                    f"the address of {host}, where the processes of this run meet, is not known: {error}",
                    "set MS_SCHED_HOST to the address of the first one's machine",
                ) from error
            time.sleep(1)


def ranks_a_node(container: Container, environ: MutableMapping[str, str]) -> int:
    """As far as the platform tells how many nodes there are."""
    nodes = environ.get("VC_WORKER_NUM") or environ.get("MA_NUM_HOSTS") or "1"
    return max(1, container.size // int(nodes)) if nodes.isdigit() and int(nodes) else 1


def notes(container: Container, environ: MutableMapping[str, str]) -> List[str]:
    """That cards stand idle, if they do: the platform starts a process for each only with its own Ascend images."""
    cards, used = container.cards, ranks_a_node(container, environ)
    if cards <= 1 or used >= cards:
        return []
    return [f"note: {cards - used} of this node's {cards} cards stand idle: a process trains on one"]


def _is_msrun(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"msrun" in [os.path.basename(word) for word in file.read().split(b"\0")[:3]]
    except OSError:
        return False


def _live_children(parent: int) -> "set[int]":
    """Linux only: elsewhere, and of a parent that has gone, none."""
    found = set()
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    state, its_parent = file.read().rpartition(")")[2].split()[:2]
            except (OSError, ValueError):
                continue
            if int(its_parent) == parent and state != "Z":
                found.add(int(name))
    return found
