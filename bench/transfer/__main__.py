"""``python -m bench transfer [--quick]``: our transfers beside their peers', over one sink in one run; prints tables.

Every row is a whole process, from its start to its end; all clients run in turn, round by round. The table gives the
best and the median of the rounds (a client that takes very long gets one). Ours has all its guarantees on: every byte
hashed, uploads checked by the store against their sha256, downloads against the manifest. The others have their
defaults.

The targets are those of the issue that asked for this; whether they are met is said below the tables.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.transfer.clients import BUCKET, Task, command, environment
from bench.transfer.measure import Measured, measure
from bench.transfer.peers import peers_folder
from bench.transfer.sink import LATENCY, Sink, sink
from bench.transfer.tables import Case, Row, show, verdicts
from bench.transfer.trees import MTIME, make_tree, write_lists
from storage.filesystem import FileSystemStorage
from storage.manifest import manifest_key, scan
from storage.transfer import upload_tree

LONG_SECONDS = 25.0
"""A client whose first round takes longer gets no other one."""
LIMIT_SECONDS = 120.0

SMALL = ("ours", "ours packed", "s5cmd", "rclone", "minio-py", "boto3", "boto3 CRT")
LARGE = ("ours", "s5cmd", "rclone", "minio-py", "boto3", "boto3 CRT")
SYNC = ("ours", "s5cmd", "rclone")
PORTS = {"plain": "", "tls": ", TLS", "slow": f", {LATENCY * 1000:.0f} ms before every answer"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench transfer", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the files, one round, fewer peers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--clients", default="", help="comma-separated; default: all")
    parser.add_argument("--peers", type=Path, help="an environment with the peers; default: makes one")
    parser.add_argument("--memory", default="/dev/shm", help="a folder on a tmpfs, for files and sink")
    arguments, _ = parser.parse_known_args()  # python -m bench transfer: the name of the bench is there too
    quick = arguments.quick
    rounds = 1 if quick else arguments.rounds
    peers = arguments.peers or peers_folder()
    with scratch_folder(arguments.memory) as root, sink(root / "sink", MTIME) as running:
        bench = Bench(root, running, peers, rounds, arguments.only, arguments.clients)
        cases = list(bench.run(quick))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    where = f"{cores} CPUs, Python {platform.python_version()}, nginx on the same CPUs"
    print(f"{where}; {rounds} rounds, all clients in turn.\n")
    for case in cases:
        show(case)
    print("\n".join(verdicts(cases)))


class Bench:
    """All cases over one sink."""

    def __init__(self, root: Path, running: Sink, peers: Path, rounds: int, only: str, clients: str) -> None:
        self.root, self.sink, self.peers, self.rounds = root, running, peers, rounds
        self.only, self.clients = only, [name.strip() for name in clients.split(",") if name.strip()]
        (root / "home").mkdir()

    def run(self, quick: bool) -> Iterator[Case]:
        """Each case as it is done; its files are made before and removed after."""
        scale = 10 if quick else 1
        sizes = {
            "small": (20_000 // scale, 3 << 10),
            "middle": (500 // scale, 1 << 20),
            "large": (1, (2 << 30) // scale),
        }
        names = {"small": "{} files of 3 KiB", "middle": "{} files of 1 MiB", "large": "{} file of {} MiB"}
        for kind, (count, size) in sizes.items():
            ports = ["plain", "tls", "slow"] if kind == "small" else ["plain"]
            titles = {
                (way, port): f"{names[kind].format(count, size >> 20)}, {way}{PORTS[port]}"
                for port in ports
                for way in ("up", "down")
            }
            if not any(self.only in title for title in titles.values()):
                continue
            tree = make_tree(self.root / kind, count, size)
            self.serve(tree, kind)
            for (way, port), title in titles.items():
                if self.only in title:
                    yield self.case(title, kind, count, size, Task(way, port, tree, kind, self.root / "arrived"))
            shutil.rmtree(tree)
        title = f"second sync of {60_000 // scale} unchanged files"
        if self.only in title:
            yield self.sync(title, 60_000 // scale)

    def serve(self, tree: Path, prefix: str) -> None:
        """Let the sink have the tree, as it is and packed, with manifests and listings."""
        write_lists(self.sink.lists, tree, prefix)
        bucket = FileSystemStorage(self.sink.data / BUCKET)
        manifest = scan(tree)
        bucket.write(manifest_key(prefix), manifest.to_json())
        (self.sink.data / BUCKET / prefix).symlink_to(tree)
        upload_tree(tree, bucket, f"{prefix}-packed", manifest, pack=True)

    def case(self, title: str, kind: str, count: int, size: int, task: Task) -> Case:
        clients = SMALL if kind == "small" else LARGE
        if task.way == "up":
            task = Task(task.way, task.port, task.source, "arriving", task.target)
            (self.sink.data / BUCKET / "arriving").symlink_to(task.source)  # rclone looks at what it has sent
        left = {"minio-py", "boto3", "boto3 CRT"} if task.port != "plain" else set()
        rows = self.in_turn(title, [client for client in self.chosen(clients) if client not in left], task)
        if task.way == "up":
            (self.sink.data / BUCKET / "arriving").unlink()
        return Case(title, kind, task.way, task.port, count, count * size, rows)

    def sync(self, title: str, count: int) -> Case:
        """Every client finds all files unchanged; what each of them needs to know is there before."""
        tree = make_tree(self.root / "sync", count, 100)
        write_lists(self.sink.lists, tree, "sync")
        task = Task("sync", "plain", tree, "sync", self.root / "arrived")
        FileSystemStorage(self.sink.data / BUCKET).write(manifest_key("sync"), scan(tree).to_json())
        chosen = self.chosen(SYNC)
        if "ours" in chosen:
            self.run_once("ours", task)  # fills the cache of hashes
        shutil.copytree(tree, self.sink.data / BUCKET / "sync", dirs_exist_ok=True)
        rows = self.in_turn(title, chosen, task)
        shutil.rmtree(tree)
        return Case(title, "sync", "sync", "plain", count, count * 100, rows)

    def chosen(self, clients: tuple[str, ...]) -> list[str]:
        return [client for client in clients if not self.clients or client in self.clients]

    def in_turn(self, title: str, clients: list[str], task: Task) -> list[Row]:
        """Rounds of all clients, one after the other. Who has failed, or takes long, is left out of the next ones."""
        found: dict[str, list[Measured]] = {client: [] for client in clients}
        for _ in range(self.rounds):
            for client in clients:
                done = found[client]
                if not done or not (done[-1].error or done[0].seconds > LONG_SECONDS):
                    done.append(self.run_once(client, task))
                    print(f"{title}: {client} {done[-1]}", file=sys.stderr, flush=True)
        return [Row(client, tuple(done)) for client, done in found.items()]

    def run_once(self, client: str, task: Task) -> Measured:
        home = self.root / "home"
        words = command(client, task, self.sink, self.peers, home)
        measured = measure(words, environment(self.sink, home), LIMIT_SECONDS)
        time.sleep(0.2)
        arrived = self.arrived(task)
        shutil.rmtree(task.target, ignore_errors=True)
        if not measured.error and arrived:
            return Measured(measured.seconds, measured.cpu, measured.peak, arrived)
        return measured

    def arrived(self, task: Task) -> str:
        """What is wrong with what has arrived, by the sum of its bytes; of a download, by names and sizes of files."""
        taken = self.sink.taken()
        if task.way == "sync":
            return ""
        expected = sorted((path.name, path.stat().st_size) for path in task.source.rglob("*") if path.is_file())
        if task.way == "up":
            least = sum(size for _, size in expected)
            return "" if taken >= least else f"{taken} bytes arrived of {least}"
        found = sorted((path.name, path.stat().st_size) for path in task.target.rglob("*") if path.is_file())
        return "" if found == expected else f"{len(found)} files arrived of {len(expected)}, or of other sizes"


@contextmanager
def scratch_folder(memory: str) -> Iterator[Path]:
    """A new folder on the tmpfs, removed afterwards."""
    if shutil.disk_usage(memory).free < 10 << 30:
        print(f"warning: {memory} has less than 10 GiB free", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="bench-transfer-", dir=memory) as folder:
        yield Path(folder)


if __name__ == "__main__":
    main()
