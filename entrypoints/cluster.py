"""Several devices in one training, on MindSpore's own distributed engine: who takes part, and how they meet.

The platform starts the boot file once for each device, with RANK_ID and RANK_SIZE. They find each other by

    a rank table     on an Ascend: RANK_TABLE_FILE, ModelArts' usual boot mode; read only once its status is `completed`
    msrun            MS_ROLE is set: msrun has started this process (MA_RUN_METHOD=msrun on ModelArts), and one more
                     with this boot file that trains nothing, the scheduler
    a scheduler      else, so on CPUs: the first rank starts one, as msrun would, at MS_SCHED_HOST and MS_SCHED_PORT

From then on all ranks do the same steps, and whatever one of them decides alone, such as when to stop, they agree on.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, MutableMapping, Optional, Sequence, Tuple

from jobs import ALONE, JobError, Shard, State, Trainer

from .contract import Container

if TYPE_CHECKING:
    import numpy as np

ROLE = "MS_ROLE"
SCHEDULER = "MS_SCHED"
WORKER = "MS_WORKER"
PORT = "8118"
"""Where the scheduler listens if nothing says so: msrun's own default."""

MEET_SECONDS = 600
"""How long ranks wait for each other; msrun's own default."""

TABLE_SECONDS = 600.0
"""How long the platform may take to complete the rank table."""

LOOK_SECONDS = 0.5
"""How often the scheduler looks whether it is still needed."""

TABLE = "jobstart_hccl.json"
PIECE = 1 << 20
"""Numbers in one piece of a state that is shared: 4 MiB."""

Total = Callable[["np.ndarray[Any, Any]"], "np.ndarray[Any, Any]"]


class Cluster:
    """The devices of one training, seen from one of them. All must make the same calls in the same order.

    What travels are sums of single-precision numbers, each of which holds 16 bits of the message: so it arrives to the
    bit, whatever it is.
    """

    def __init__(self, shard: Shard = ALONE, total: Optional[Total] = None) -> None:
        self.shard = shard
        self._total = total

    @property
    def first(self) -> bool:
        """Whether this is the rank that publishes, and that tells how it goes."""
        return self.shard.rank == 0

    def gather(self, numbers: Sequence[float]) -> List[List[float]]:
        """What each rank gave, by rank; all give equally many."""
        if self._total is None:
            return [list(numbers)]
        import numpy as np

        own = np.array(numbers, np.float64).view(np.uint16)
        slots = np.zeros((self.shard.size, len(own)), np.float32)
        slots[self.shard.rank] = own
        told = self._total(slots).astype(np.uint16).reshape(slots.shape)
        return [row.view(np.float64).tolist() for row in np.ascontiguousarray(told)]

    def agree(self, stop: int, steps: int) -> Tuple[int, int]:
        """The exit code that anybody was asked to stop with, else 0; and the first rank's number of steps."""
        told = self.gather((stop, steps))
        return int(max(row[0] for row in told)), int(told[0][1])

    def share(self, state: State) -> State:
        """The first rank's state, on every rank."""
        if self._total is None:
            return state
        import numpy as np

        shared: State = {}
        for name in sorted(state):
            array = state[name]
            words = np.frombuffer(array.tobytes() + b"\0" * (array.nbytes % 2), np.uint16)
            parts = []
            for start in range(0, max(1, len(words)), PIECE):
                piece = np.zeros(_room(len(words)), np.float32)
                if self.first:
                    part = words[start : start + PIECE]
                    piece[: len(part)] = part
                parts.append(self._total(piece).astype(np.uint16))
            data = np.concatenate(parts).tobytes()[: array.nbytes]
            shared[name] = np.frombuffer(data, array.dtype).reshape(array.shape).copy()
        return shared

    def evaluate(self, trainer: Trainer, stop: Callable[[], int]) -> Tuple[Dict[str, float], int]:
        """Over the whole test set, of which each rank judges a part; and the exit code that `stop` gave any of them, in
        which case there is no evaluation.

        Moving statistics are each rank's own, and a checkpoint has the first one's: all judge with these.
        """
        if self._total is not None:
            trainer.restore(self.share(trainer.state()))
        own = trainer.evaluate(lambda: bool(stop()))
        if self._total is None:
            return own, 0
        told = self.gather([own.get(name, 0) for name in ("accuracy", "loss", "samples")] + [0 if own else stop()])
        code = int(max(row[3] for row in told))
        if code:
            return {}, code
        samples = sum(row[2] for row in told)
        accuracy, loss = (sum(row[column] * row[2] for row in told) / samples for column in (0, 1))
        return {"accuracy": accuracy, "loss": loss, "samples": samples}, 0


def join(container: Container, device: str, scratch: str) -> Cluster:
    """Meet the other ranks of this run, if there are any, and have MindSpore average their gradients.

    MindSpore must have been set to `device`. Blocks until all are there; JobError if they do not come.
    """
    if container.size == 1:
        return Cluster()
    if not os.environ.get(ROLE):
        if device == "Ascend":
            _use_rank_table(os.environ, scratch)
        else:
            _use_scheduler(os.environ, container)
    if os.environ.get(ROLE):
        _await_scheduler(os.environ)
    import mindspore
    from mindspore.communication import get_group_size, get_rank, init

    try:
        with _killable():
            init()
    except (RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise JobError(
            f"the {container.size} processes of this run did not meet: {reason}",
            "look for the one that ended, in the other logs; or train alone: --nodes 1 --devices 1",
        ) from error
    shard = Shard(get_rank(), get_group_size())
    parallel = mindspore.ParallelMode.DATA_PARALLEL
    mindspore.set_auto_parallel_context(parallel_mode=parallel, gradients_mean=True, device_num=shard.size)
    from jobs.shared.together import Sum

    add = Sum()
    return Cluster(shard, lambda numbers: add(mindspore.Tensor(numbers)).asnumpy())


def prepare(container: Container, environ: MutableMapping[str, str]) -> None:
    """What ranks on CPUs need before MindSpore is imported: the scheduler on its way, and processors of their own."""
    if not environ.get(ROLE):
        _use_scheduler(environ, container)
    _pin(container, environ)


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
    parent, started = os.getppid(), False
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


def rank_table(path: str, scratch: str, patience: float = TABLE_SECONDS) -> str:
    """The file that HCCL takes, made of the platform's if need be, once that is complete; JobError if it never is.

    Custom images are given the folder of the file, and the scheduler's own form ("template two"), which names groups of
    instances where HCCL wants servers and ranks.
    """
    if os.path.isdir(path):
        path = os.path.join(path, TABLE)
    deadline = time.monotonic() + patience
    while True:
        table = _read_table(path)
        if table.get("status") == "completed":
            break
        if time.monotonic() > deadline:
            raise JobError(
                f"the rank table {path} is not complete after {patience:.0f} s (status {table.get('status')!r})",
                "other nodes of the run may not have started: look at its events, and submit it again",
            )
        time.sleep(0.5)
    if "server_list" in table:
        return path
    made = os.path.join(scratch, "rank_table.json")
    with open(made, "w") as file:
        json.dump(_for_hccl(table, path), file)
    return made


def _for_hccl(table: Dict[str, Any], path: str) -> Dict[str, Any]:
    servers: Dict[str, List[Dict[str, str]]] = {}
    try:
        instances = [instance for group in table["group_list"] for instance in group["instance_list"]]
        for instance in instances:
            servers.setdefault(instance["server_id"], []).extend(instance["devices"])
        rank, found = 0, []
        for server, devices in servers.items():
            numbered = []
            for device in devices:
                place = {"device_id": device["device_id"], "device_ip": device["device_ip"], "rank_id": str(rank)}
                numbered.append(place)
                rank += 1
            found.append({"server_id": server, "device": numbered})
    except (KeyError, TypeError) as error:
        raise JobError(f"{path} is no rank table: {error!r} is missing", "train with MA_RUN_METHOD: msrun") from error
    return {"version": "1.0", "server_count": str(len(found)), "server_list": found, "status": "completed"}


def _read_table(path: str) -> Dict[str, Any]:
    """Empty while it is not there, or only half of it."""
    try:
        with open(path, encoding="utf-8") as file:
            table = json.load(file)
    except (OSError, ValueError):
        return {}
    return table if isinstance(table, dict) else {}


def _use_rank_table(environ: MutableMapping[str, str], scratch: str) -> None:
    path = environ.get("RANK_TABLE_FILE", "")
    if not path:
        raise JobError(
            "the run has several devices, and neither RANK_TABLE_FILE nor MS_ROLE says how they meet",
            "set MA_RUN_METHOD: msrun in the environment of job.yaml",
        )
    environ["RANK_TABLE_FILE"] = rank_table(path, scratch)


def _use_scheduler(environ: MutableMapping[str, str], container: Container) -> None:
    """What msrun does, for this process; the first rank starts the scheduler too."""
    first_host = environ.get("VC_WORKER_HOSTS", "").split(",")[0]
    environ.setdefault("MS_SCHED_HOST", first_host or "127.0.0.1")
    environ.setdefault("MS_SCHED_PORT", PORT)
    environ.setdefault("MS_TOPO_TIMEOUT", str(MEET_SECONDS))
    environ["MS_WORKER_NUM"] = str(container.size)
    if container.rank == 0:
        subprocess.Popen(
            [sys.executable, os.path.abspath(sys.argv[0])],
            env={**environ, ROLE: SCHEDULER, "GLOG_v": "4"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    environ[ROLE] = WORKER
    environ["MS_NODE_ID"] = str(container.rank)


def _await_scheduler(environ: MutableMapping[str, str]) -> None:
    """Until it listens, or is not going to: MindSpore, when it finds nobody there, tries again only much later."""
    place = (environ.get("MS_SCHED_HOST", "127.0.0.1"), int(environ.get("MS_SCHED_PORT", PORT)))
    deadline = time.monotonic() + MEET_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(place, 5).close()
            return
        except OSError:
            time.sleep(0.1)


@contextlib.contextmanager
def _killable() -> Iterator[None]:
    """Let signals end the process at once, as they do by default: MindSpore lets no Python run while it waits here."""
    handlers = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _pin(container: Container, environ: MutableMapping[str, str]) -> None:
    """Give each rank of this machine its share of the processors: threads of two that share them slow each other."""
    here = _ranks_here(container, environ)
    if here > 1 and hasattr(os, "sched_setaffinity"):
        processors = sorted(os.sched_getaffinity(0))
        own = processors[container.rank % here :: here]
        if own:
            os.sched_setaffinity(0, own)


def _ranks_here(container: Container, environ: MutableMapping[str, str]) -> int:
    """How many ranks this machine has: all of them if they meet on the loopback, else those of its devices."""
    if environ.get("MS_SCHED_HOST", environ.get("VC_WORKER_HOSTS", "").split(",")[0]) == "127.0.0.1":
        return container.size
    nodes = environ.get("VC_WORKER_NUM") or environ.get("MA_NUM_HOSTS") or "1"
    return max(1, container.size // int(nodes)) if nodes.isdigit() and int(nodes) else 1


def _is_msrun(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"msrun" in file.read()
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


def _room(words: int) -> int:
    """The size of a piece for so many 16-bit words: few different ones, since MindSpore compiles each anew."""
    room = 64
    while room < min(words, PIECE):
        room *= 8
    return min(room, PIECE)
