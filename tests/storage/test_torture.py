"""Very many transfers over a network that breaks, by processes that are killed: nothing is torn, lost or left behind.

Each round makes a tree of random files, sends it to a bucket and fetches it back, each by a process that is killed at
random moments and started again until it is done. One request in five meets a fault. TRANSFERS sets the number of
files that are moved (10,000), SEED what is random.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launcher.emulator.obs import Account, Fault, Faults, Kind, ObsServer
from launcher.emulator.obs.faults import PASSING
from storage.files import LEFTOVER_SECONDS, RESERVED, sweep
from storage.obs import ObsService, ObsSettings
from tests.storage.torture_worker import GAVE_UP

HOUSE = Path(__file__).resolve().parents[2]
TRANSFERS = int(os.environ.get("TRANSFERS", "10000"))
SEED = int(os.environ.get("SEED", "1"))
FILES = 50
"""In a tree."""
LANES = 4
"""Rounds at once."""
HANG_SECONDS = 240.0
"""After which a process that is still at one step counts as hanging."""
STARTS = 40
"""In which a step must be done."""
MANIFEST = ".manifest.json"
RARE = {
    Kind.COMPLETE_ERROR: "CompleteMultipartUpload",
    Kind.COMPLETE_GONE: "CompleteMultipartUpload",
    Kind.SKEWED: "PutObject",
}
"""Faults that are not left to chance, and whom they hit. A clock that is right cannot be set right: one that is told
that it is wrong ends a step, whose process is started again."""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in memory where there is one: the bytes are moved several times, and each object is fsynced."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="torture-", dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nothing_is_torn_lost_or_left_behind(place: Path) -> None:
    faults = Faults.random(SEED, rate=0.2, kinds=PASSING - {Kind.SKEWED}, seconds=0.05)
    for kind, operation in RARE.items():
        faults.once(operation, Fault(kind), times=2)
    keys = {"AK": Account("SK")}
    with ObsServer(place / "root", accounts=keys, faults=faults) as server:
        torture = Torture(place, server)
        with ThreadPoolExecutor(LANES) as lanes:
            for done in [lanes.submit(torture.lane, number) for number in range(LANES)]:
                done.result()
        requests = server.requests.total()
        faults.clear()
        torture.nothing_is_left()
    assert torture.transfers >= TRANSFERS
    assert torture.kills > 0
    injected = faults.injected
    print(
        f"{torture.transfers} transfers, {torture.bytes >> 20} MiB, {torture.kills} kills, {torture.gave_up} given up"
    )
    print(f"{requests} requests, {injected.total()} faults: { {kind.name: n for kind, n in injected.items()} }")
    assert {kind for kind in PASSING if not injected[kind]} == set()
    assert injected.total() > 0.1 * requests


class Torture:
    """The rounds of all lanes; `lane` may run in several threads, each with its own bucket."""

    def __init__(self, place: Path, server: ObsServer) -> None:
        self.transfers = self.bytes = self.kills = self.gave_up = 0
        self._place = place
        self._server = server
        self._lock = threading.Lock()
        self._buckets: list[str] = []

    def lane(self, number: int) -> None:
        """Rounds until enough has been moved."""
        rng = random.Random(f"{SEED}-{number}")
        bucket = f"lane-{number}"
        self._server.store.make_bucket(bucket, "owner", "", "private")
        self._buckets.append(bucket)
        signature = ("obs", "v2")[number % 2]
        for count in range(1 << 30):
            if self.transfers >= TRANSFERS:
                return
            folder = self._place / bucket / str(count)
            self._round(Round(folder, bucket, f"tree {count}", signature), rng)

    def nothing_is_left(self) -> None:
        """After what is documented as clean-up: discarding leftovers, and an hour for temporary files."""
        settings = ObsSettings(
            endpoint=self._server.endpoint, access_key="AK", secret_key="SK", signature="obs", addressing="path"
        )
        service = ObsService(settings)
        for bucket in self._buckets:
            for leftover in list(service.leftovers(bucket)):
                service.discard(bucket, leftover)
            assert list(service.leftovers(bucket)) == []
        service.close()
        assert [path for path in self._server.store.uploads.rglob("*") if path.is_file()] == []
        temporary = [path for path in self._place.rglob(RESERVED + "*") if path.is_file()]
        for path in temporary:
            os.utime(path, (time.time() - LEFTOVER_SECONDS - 60,) * 2)
        for folder in {path.parent for path in temporary}:
            sweep(str(folder))
        assert [path for path in temporary if path.exists()] == []

    def _round(self, this: Round, rng: random.Random) -> None:
        wanted = plant(this.source, rng)
        up = rng.choice(["upload_tree", "send_tree", "sync_tree", "upload"])
        self._step(this, up, rng, wanted, this.stored)
        assert digests(this.stored) == wanted, (up, "what lies in the bucket")
        is_committed = this.stored.with_name(this.stored.name + MANIFEST).exists()
        assert is_committed == (up in ("upload_tree", "send_tree"))
        if rng.random() < 0.3:
            wanted |= plant(this.source, rng, count=5)
            self._step(this, "sync_tree" if not is_committed else up, rng, wanted, this.stored)
            assert digests(this.stored) == wanted
        down = rng.choice(["download_tree", "download"])
        self._step(this, down, rng, wanted, this.target)
        assert digests(this.target) == wanted, (down, "what has been fetched")
        with self._lock:
            self.transfers += 2 * len(wanted)
            self.bytes += 2 * sum(path.stat().st_size for path in this.source.rglob("*") if path.is_file())
        this.tidy()

    def _step(self, this: Round, how: str, rng: random.Random, wanted: dict[str, str], where: Path) -> None:
        """Run a process until it is done; between its lives, whatever can be seen is whole."""
        for _ in range(STARTS):
            process = this.start(self._server.endpoint, how)
            patience = rng.uniform(0.3, 4.0) if rng.random() < 0.5 else HANG_SECONDS
            try:
                _, told = process.communicate(timeout=patience)
            except subprocess.TimeoutExpired:
                process.kill()
                _, told = process.communicate()
                assert patience < HANG_SECONDS, f"{how} hangs"
                with self._lock:
                    self.kills += 1
                seen = digests(where)
                assert {name: seen[name] for name in seen if wanted.get(name) != seen[name]} == {}, f"{how}: torn"
                continue
            if process.returncode == 0:
                return
            assert process.returncode == GAVE_UP, f"{how} broke:\n{told.decode(errors='replace')}"
            print(f"{how} gave up: {told.decode(errors='replace').strip()}")
            with self._lock:
                self.gave_up += 1
        pytest.fail(f"{how} is not done after {STARTS} starts")


class Round:
    """The folders of one round, and its processes."""

    def __init__(self, folder: Path, bucket: str, prefix: str, signature: str) -> None:
        self.source, self.target = folder / "source", folder / "target"
        self.stored = folder.parents[1] / "root" / bucket / prefix
        self._folder = folder
        self._step = {
            "bucket": bucket,
            "prefix": prefix,
            "source": str(self.source),
            "target": str(self.target),
            "cache": str(folder / "hashes.sqlite"),
            "signature": signature,
            "timeout": 2.0,
        }

    def start(self, endpoint: str, how: str) -> subprocess.Popen[bytes]:
        """A process at one step."""
        env = {**os.environ, "PYTHONPATH": str(HOUSE), "OBS_ACCESS_KEY_ID": "AK", "OBS_SECRET_ACCESS_KEY": "SK"}
        env["LAUNCHER_STATE"] = str(self._folder.parent / "state")
        step = json.dumps({**self._step, "endpoint": endpoint, "how": how})
        command = [sys.executable, "-W", "ignore", str(HOUSE / "tests/storage/torture_worker.py"), step]
        return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def tidy(self) -> None:
        """Make room for the next round, but leave temporary files to be counted at the end."""
        for top in (self.source, self.target, self.stored):
            for path in top.rglob("*"):
                if path.is_file() and not path.name.startswith(RESERVED):
                    path.unlink()


def plant(root: Path, rng: random.Random, count: int = FILES) -> dict[str, str]:
    """Make a tree of files from 0 bytes to 20 MiB, about 1 MiB on average; their sha256 by name."""
    found = {}
    for _ in range(count):
        name = "/".join(rng.choice(["a", "b c", "数据", "x+%&"]) for _ in range(rng.randrange(3)))
        path = root / name / f"{rng.randrange(1 << 40):x}.bin"
        data = rng.randbytes(size_of(rng))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        found[str(path.relative_to(root))] = hashlib.sha256(data).hexdigest()
    return found


def size_of(rng: random.Random) -> int:
    """Bytes: a tenth empty or tiny, most below 1 MiB, a few of many parts."""
    kind = rng.random()
    if kind < 0.1:
        return rng.choice([0, 0, 1, 2, 100])
    if kind < 0.8:
        return int(2 ** rng.uniform(7, 20))
    if kind < 0.95:
        return rng.randrange(1 << 20, 4 << 20)
    return rng.randrange(4 << 20, 20 << 20)


def digests(root: Path) -> dict[str, str]:
    """What can be seen in a folder, without what is on its way."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith(RESERVED)
    }


def test_the_sizes_are_what_they_are_said_to_be() -> None:
    rng = random.Random(0)
    sizes = Counter(size_of(rng) for _ in range(20_000))
    mean = sum(size * count for size, count in sizes.items()) / 20_000
    assert sizes[0] > 100 and max(sizes) < 20 << 20
    assert 0.8 < mean / (1 << 20) < 1.3
