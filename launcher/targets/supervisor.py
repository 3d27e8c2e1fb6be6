"""The process that drives one local run, as ModelArts' agent does in its container.

Started by ``driver.Driver`` in a session of its own, so that it outlives the launcher. It stages code and inputs
in, starts the workers, copies outputs and logs to the bucket every 30 s and at the end, enforces the time limit, and
writes the end into the ledger. It holds the run's lock all its life: when the lock is free, there is no supervisor, and
``LocalTarget.refresh`` settles what it left.

The emulator of ModelArts drives its jobs through the same process. Its requests say ``"store": "obs"``: then ``obs://``
is the object store that this process's environment names, the log goes there as the platform sends it, and the steps
of the run are noted in the ledger.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from launcher.errors import LauncherError
from launcher.ledger import Ledger
from launcher.paths import BUCKET, ROOT, Home
from launcher.results import results
from launcher.run import now
from launcher.targets import driver
from launcher.targets.container import Worker, free_port, oom_kills, out_of_memory
from storage import Storage, locate
from storage.errors import Corrupt, NotFound, StorageError, Unreachable
from storage.manifest import manifest_key
from storage.transfer import download_tree, known_tree, sync_tree
from storage.urls import join_key

COPY_OUT_SECONDS = 30.0
"""How often ModelArts uploads outputs."""
SENT_TREES = tuple(f"obs://{BUCKET}/{ROOT}/{kind}/" for kind in ("code", "data"))
"""Where the trees lie that a submit sends, by their content."""
GRACE_SECONDS = 15.0
"""What a job has between SIGTERM and SIGKILL; ModelArts' launcher gives about as much."""
STORE_AWAY_SECONDS = 60.0
"""How long a run waits for an object store that does not answer, beyond the patience of `storage`."""
LOOK_SECONDS = 0.1
"""How often a stop request is looked for; a worker's end is noticed at once."""


T = TypeVar("T")


class _StopAsked(Exception):
    """Somebody wants the run to end while it is still being staged in."""


class Supervisor:
    """One run from Pending to its end."""

    def __init__(self, home: Home, run_id: str) -> None:
        self.home, self.run_id = home, run_id
        self.paths = home.run(run_id)
        self.ledger = Ledger(home, create=True)
        self.request: dict[str, Any] = json.loads(self.paths.request.read_text("utf-8"))
        self.workers: list[Worker] = []
        self.exit_code: int | None = None
        self.message = ""
        self.stopping = ""
        self._signalled = False
        self._oom_kills = oom_kills()
        self.refused: set[str] = set()
        """Outputs that can be no objects: links that lead out, names that are no keys."""
        self._in_store = self.request.get("store") == "obs"
        self._told: set[int] = set()
        self._seen: list[dict[str, tuple[int, int]]] = []
        self._seen_logs: dict[str, tuple[int, int]] = {}
        self._wakeup, wakeup_writer = os.pipe()
        for end in (self._wakeup, wakeup_writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wakeup_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._hear)
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)

    def drive(self) -> None:
        """The whole life of the run; whatever happens, its end is written down."""
        try:
            self._stage_in()
            if self.ledger.move(self.run_id, "Running", since=("Pending",), started_at=now()):
                self._work()
            phase = self._phase()
        except _StopAsked:
            self._ask_stop("stopped before it started")
            phase = self._phase()
        except (StorageError, LauncherError, OSError) as error:
            how = "was broken off" if any(worker.process for worker in self.workers) else "could not be started"
            phase, self.message = "Failed", f"{how}: {error}" + (f"; {self.message}" if self.message else "")
        except Exception as error:
            traceback.print_exc()
            phase, self.message = "Failed", f"the supervisor failed: {error!r}; see {self.paths.supervisor_log}"
        finally:
            for worker in self.workers:
                worker.kill()
        self._finish(phase)

    def _stage_in(self) -> None:
        for index in range(self.request["nodes"]):
            worker = Worker(index, self.paths, self.request)
            worker.paths.create()
            seen: dict[str, tuple[int, int]] = {}
            if self.request["code_url"]:
                self._stage(worker, "code", self.request["code_url"], worker.code_dir)
            if self.request["contract"] == "new":
                for channel, folder in worker.input_folders():
                    self._stage(worker, channel["name"], channel["url"], folder)
                for channel, folder in worker.output_folders():
                    if channel.get("prefetch"):
                        with contextlib.suppress(NotFound):  # the first attempt finds nothing there
                            self._stage(worker, channel["name"], channel["url"], folder)
                            seen.update(known_tree(folder))
            self.workers.append(worker)
            self._seen.append(seen)

    def _stage(self, worker: Worker, name: str, url: str, folder: Path) -> None:
        began = time.monotonic()
        self._patiently(lambda: self._bring(url, folder), heed=lambda: self._heed(0))
        self._step("staged", f"worker-{worker.index} {name} {time.monotonic() - began:.3f}")

    def _bring(self, url: str, folder: Path) -> None:
        """A tree of the bucket into a folder, its objects as they lie there: the platform unpacks no shards.

        One of ours that is damaged ceases to be committed: it is sent again.
        """
        storage, prefix = self._locate(url)
        if self._in_store and not url.endswith("/") and self._is_object(storage, prefix):
            storage.download(prefix, folder / prefix.rpartition("/")[2], progress=self._heed)
            return
        try:
            download_tree(storage, prefix.rstrip("/"), folder, progress=self._heed, unpacked=False)
        except (Corrupt, NotFound):
            if not url.startswith(SENT_TREES):  # used in place: what lies there is somebody's own
                raise
            storage.delete([manifest_key(prefix.rstrip("/"))])
            self.message = "what the bucket held was damaged, and is sent anew by the next submit"
            raise

    def _locate(self, url: str) -> tuple[Storage, str]:
        """The bucket and the prefix that a URL of the request names."""
        return locate(url, buckets="" if self._in_store else str(self.home.buckets))

    def _patiently(self, act: Callable[[], T], heed: Callable[[], None] = lambda: None) -> T:
        """Do what an object store that is away for a while must not spoil; folders of buckets are never away."""
        ends = time.monotonic() + STORE_AWAY_SECONDS
        while True:
            try:
                return act()
            except Unreachable:
                if not self._in_store or time.monotonic() > ends:
                    raise
            heed()
            time.sleep(LOOK_SECONDS)

    @staticmethod
    def _is_object(storage: Storage, key: str) -> bool:
        try:
            storage.stat(key)
        except NotFound:
            return False
        return True

    def _step(self, step: str, detail: str) -> None:
        """Note what the emulator makes events of; a full disk does not matter."""
        if self._in_store:
            with contextlib.suppress(LauncherError):
                self.ledger.note(self.run_id, step, detail)

    def _work(self) -> None:
        lock = os.open(self.paths.job_lock, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.request["meeting_port"] = free_port()
        for worker in self.workers:
            worker.start(lock, self.home.buckets)
            self._step("started", f"worker-{worker.index}")
        os.close(lock)  # from here on it is held by the job alone
        ended = threading.Event()
        copiers = [
            threading.Thread(target=self._regularly, args=(copy, self.request.get(period, usual), ended), daemon=True)
            for copy, period, usual in (
                (self._copy_outputs, "output_period", COPY_OUT_SECONDS),
                (self._copy_logs, "log_period", COPY_OUT_SECONDS),
            )
        ]
        for copier in copiers:
            copier.start()
        try:
            self._watch()
        finally:
            ended.set()
            for copier in copiers:
                copier.join()

    def _watch(self) -> None:
        """Until no worker is left: look for their ends, a stop request, the time limit, the end of the grace."""
        limit = time.monotonic() + self.request["time_limit_seconds"]
        kill_at = float("inf")
        while True:
            for worker in self.workers:
                code = worker.poll()
                if code is not None and worker.index not in self._told:
                    self._told.add(worker.index)
                    self._step("ended", f"worker-{worker.index} {code}")
                    if self.request.get("closing_line"):
                        worker.log_line(f"[Modelarts Service Log]Training end with return code: {code}")
                if code and self.exit_code in (None, 0):
                    self.exit_code = code
                    if (len(self.workers) > 1 or worker.devices > 1) and not self.stopping:
                        self.message = f"{worker.who()} ended with {code}, so the others were ended"
            if all(worker.ended for worker in self.workers):
                self.exit_code = self.exit_code or 0
                return
            asked = self._asked()
            if time.monotonic() > limit:
                self._ask_stop(f"the time limit of {self.request['time_limit_seconds']} s was reached")
            elif asked != "run":
                self._ask_stop("stopped")
            if kill_at == float("inf") and (self.stopping or self.exit_code):
                kill_at = time.monotonic() + GRACE_SECONDS
                for worker in self.workers:
                    worker.terminate()
            if asked == "kill" or time.monotonic() > kill_at:
                for worker in self.workers:
                    worker.kill()
            select.select([self._wakeup], [], [], LOOK_SECONDS)
            _drain(self._wakeup)

    def _hear(self, *_: object) -> None:
        self._signalled = True

    def _asked(self) -> str:
        """``run``, ``stop`` or ``kill``: what was last asked of this run."""
        asked = self.paths.control.read_bytes()[:4].decode("ascii").strip()
        return "stop" if asked == "run" and self._signalled else asked

    def _heed(self, _: int) -> None:
        """Called as bytes come in: a stop does not wait for the rest of them."""
        if self._asked() != "run":
            raise _StopAsked

    def _ask_stop(self, reason: str) -> None:
        if not self.stopping:
            self.stopping = reason
            with contextlib.suppress(LauncherError):  # a full disk must not keep a job from being stopped
                self.ledger.move(self.run_id, "Terminating", since=("Pending", "Running"))

    def _phase(self) -> str:
        if self.stopping or self.exit_code is None:
            self.message = self.stopping or "stopped before it started"
            return "Terminated"
        if self.exit_code:
            code = self.exit_code
            named = f" ({signal.Signals(code - 128).name})" if 128 < code < 160 else ""
            self.message = self.message or f"the job ended with exit code {code}{named}"
            self.message += out_of_memory(code, self._oom_kills)
            return "Failed"
        return "Completed"

    def _finish(self, phase: str) -> None:
        self.paths.ballast.unlink(missing_ok=True)
        for channel in self.request["outputs"] if self.exit_code is not None else ():
            self._step("uploading", channel["name"])
        lost = self._copy_outputs(last=True)
        late = self.request.get("late_log", 0)
        if not late:
            self._copy_logs(last=True)
        if lost and phase == "Completed":
            phase, self.message = "Failed", f"the job ended with 0, but its output did not reach the bucket: {lost}"
        if self.refused and not self.message:
            self.message = f"{len(self.refused)} outputs stay in {self.paths.root}, since {min(self.refused)}"
        for worker in self.workers:
            worker.clean(keep_outputs=bool(lost or self.refused))
        with contextlib.suppress(LauncherError):  # a full disk must not keep the end from being written down
            for what in sorted(self.refused)[:20]:
                self.ledger.note(self.run_id, "not copied", what)
        columns = {"exit_code": self.exit_code, "message": self.message, "ended_at": now(), **self._results()}
        deadline = time.monotonic() + 60
        while True:
            try:
                self.ledger.move(self.run_id, phase, **columns)
                break
            except LauncherError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        if late:
            time.sleep(late)
            self._copy_logs(last=True)

    @staticmethod
    def _regularly(copy: Callable[[], object], seconds: float, ended: threading.Event) -> None:
        while not ended.wait(seconds):
            copy()

    def _copy_outputs(self, last: bool = False) -> str:
        """Outputs to the bucket; what went wrong, or an empty string.

        The ``last`` time, nobody writes any more: what is named like a temporary file is copied too.
        """
        wrong = ""
        try:
            if self.request["contract"] == "new":
                for worker, seen in zip(self.workers, self._seen, strict=True):
                    for channel, folder in worker.output_folders():
                        target, prefix = self._locate(channel["url"])
                        copy = partial(sync_tree, folder, target, prefix.rstrip("/"), seen, temporaries=last)
                        synced = self._patiently(copy) if last else copy()
                        wrong = wrong or ", ".join(synced.later)
                        self.refused.update(str(error) for error in synced.refused)
        except (StorageError, OSError) as error:
            wrong = str(error)
            print(f"{now()} copying outputs: {error}", file=sys.stderr, flush=True)
        return wrong

    def _copy_logs(self, last: bool = False) -> None:
        copies = [partial(self._publish_log, worker, last) for worker in self.workers]
        for copy in copies if self._in_store else [self._sync_logs]:
            try:
                copy()
            except (StorageError, OSError) as error:
                print(f"{now()} copying logs: {error}", file=sys.stderr, flush=True)

    def _sync_logs(self) -> None:
        target, prefix = self._locate(self.request["log_url"])
        sync_tree(self.paths.logs, target, prefix.rstrip("/"), self._seen_logs)

    def _publish_log(self, worker: Worker, last: bool) -> None:
        """The log as it is now to where the platform shows it, and whole to the bucket: a job that never pauses would
        keep ``sync_tree``, which waits for a quiet file, from ever copying it."""
        status = worker.log.stat()
        stamp = (status.st_size, status.st_mtime_ns)
        if not last and self._seen_logs.get(worker.log.name) == stamp:
            return
        shown = worker.show_log(status.st_size)
        if self.request["log_url"]:
            storage, prefix = self._locate(self.request["log_url"])
            upload = partial(storage.upload, shown, join_key(prefix.rstrip("/"), shown.name))
            self._patiently(upload) if last else upload()
        self._seen_logs[worker.log.name] = stamp

    def _results(self) -> dict[str, Any]:
        """``metrics``: the last line of metrics.jsonl; ``result``: result.json; None where the job wrote none."""
        url = self.request["output_url"]
        return results(*self._locate(url)) if url else {}


def main(arguments: list[str]) -> None:
    """Entry of the supervisor's process: wait to be told the run, and drive it."""
    told = driver.told(int(arguments[0]))
    if told:
        root, run_id = told
        home = Home(root.parent, root)
        os.chdir(home.run(run_id).root)  # which also shows in a list of processes whose supervisor this is
        log = os.open(home.run(run_id).supervisor_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        Supervisor(home, run_id).drive()


def _drain(descriptor: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(descriptor, 4096):
            pass


if __name__ == "__main__":
    main(sys.argv[1:])
