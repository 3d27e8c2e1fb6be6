"""One worker of a local run: the folders, arguments and environment that ModelArts gives a job, and its process.

The names and values follow ModelArts' documents for the v2 training service; where the real container has
``/home/ma-user`` and ``/cache``, a local run has the same tree under its own folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from launcher.paths import RunPaths
from launcher.targets import cache

PASSED_ON = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
    "VIRTUAL_ENV", "CUDA_VISIBLE_DEVICES", "CUDA_HOME",
)  # fmt: skip
PASSED_ON_PREFIXES = ("LC_", "OMP_", "MKL_", "ONEDNN_", "DNNL_", "MS_", "GLOG_", "ASCEND_", "HCCL_")
"""What a job sees of the user's environment. No key of theirs is among it, and little that the cloud would not have."""
KEYS = {"ak": "ACCESS_KEY_ID", "sk": "SECRET_ACCESS_KEY", "security_token": "SECURITY_TOKEN"}
STORE_SETTINGS = ("OBS_ENDPOINT", "OBS_REGION", "OBS_SIGNATURE", "OBS_ADDRESSING", "OBS_CHECKSUM", "OBS_CA_FILE")
"""What the supervisor's environment says of an object store; the keys do not become variables of the job."""
CHUNK_BYTES = 1 << 20
RANKS = Path(__file__).resolve().with_name("ranks.py")
"""What starts the boot file once for each device of a node."""
SHOWN = "shown"
"""Folder of a run of the emulator: its logs as far as the platform shows them."""
SITE = Path(__file__).resolve().with_name("site")
"""What only a local run's interpreter finds: the emulated moxing. The cloud has the real one."""


class Worker:
    """One worker and its process."""

    def __init__(self, index: int, paths: RunPaths, request: dict[str, Any]) -> None:
        self.index, self.request = index, request
        self.paths = paths.worker(index)
        self.log = paths.log(index)
        self.shown = paths.root / SHOWN
        self.pid_file = paths.root / f"worker-{index}.pid"
        self.failed_file = paths.root / f"worker-{index}.failed"
        self.devices = int(request.get("devices", 1))
        self.first_rank = index * self.devices
        self.code_dir = self.paths.job_dir / request["code_url"].rstrip("/").rsplit("/", 1)[-1]
        self._credentials = self.paths.root / "credentials"
        self.process: subprocess.Popen[bytes] | None = None
        self.ended = False

    def input_folders(self) -> Iterator[tuple[dict[str, Any], Path]]:
        """Each input channel with its folder: ``inputs/data_url_0``."""
        for index, channel in enumerate(self.request["inputs"]):
            yield channel, self.paths.inputs / f"{channel['name']}_{index}"

    def output_folders(self) -> Iterator[tuple[dict[str, Any], Path]]:
        """Each output channel with its folder: ``outputs/train_url_0``."""
        for index, channel in enumerate(self.request["outputs"]):
            yield channel, self.paths.outputs / f"{channel['name']}_{index}"

    def start(self, job_lock: int, buckets: Path) -> None:
        """Start the boot file in a session of its own.

        The shell writes the process's id down before it becomes the job, so that the id is on disk before the job can
        do anything; ``job_lock`` is inherited, and tells whether anything of the job is left.
        """
        for _, folder in self.output_folders():
            folder.mkdir(parents=True, exist_ok=True)
        if self.request.get("command"):  # of a custom image: the arguments follow it, as the platform appends them
            command = ["/bin/sh", "-c", f'{self.request["command"]} "$@"', "sh", *self._arguments()]
        else:
            boot = str(self.code_dir / self.request["boot_file"])
            command = [self.request["python"], boot, *self._arguments()]
        by_msrun = self.request["environment"].get("MA_RUN_METHOD") == "msrun" and self.request["nodes"] > 1
        if self.devices > 1 or by_msrun:
            ranks = [str(self.first_rank), str(self.devices), str(self.failed_file)]
            command = [sys.executable, str(RANKS), *ranks, *command]
        in_shell = ["/bin/sh", "-c", 'echo $$ >"$0" && exec "$@"', str(self.pid_file)]
        with open(self.log, "ab") as log:
            wrapper = [*in_shell, *self._with_cache(log), *command]
            self.process = subprocess.Popen(
                wrapper,
                cwd=self.code_dir,
                env=self._environment(buckets),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[job_lock],
            )

    def poll(self) -> int | None:
        """The exit code as a shell tells it (128 + n for signal n); None while the worker runs."""
        if self.process is None or self.process.poll() is None:
            return None
        if not self.ended:
            self.ended = True
            stop_group(self.process.pid, signal.SIGKILL)  # what the job left running goes with its container
        code = self.process.returncode
        return 128 - code if code < 0 else code

    def who(self) -> str:
        """The worker and, where several processes train together, which of its ranks failed."""
        try:
            return f"rank {int(self.failed_file.read_text())} (worker-{self.index})"
        except (OSError, ValueError):
            return f"worker-{self.index}"

    def show_log(self, size: int) -> Path:
        """A copy of the log's first bytes, whole at any moment: the log as far as the platform shows it."""
        shown = self.shown / self.log.name
        shown.parent.mkdir(exist_ok=True)
        beside = shown.with_suffix(".tmp")
        try:
            with open(self.log, "rb") as source, open(beside, "wb") as target:
                for left in range(size, 0, -CHUNK_BYTES):
                    target.write(source.read(min(left, CHUNK_BYTES)))
            beside.replace(shown)
        finally:  # half a copy must not take the last of a full disk
            beside.unlink(missing_ok=True)
        return shown

    def log_line(self, text: str) -> None:
        """A line of the platform's own in the job's log; a full disk, which has no place for it, does not matter."""
        with contextlib.suppress(OSError), open(self.log, "ab+") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - 1))
            torn = log.read(1) not in (b"", b"\n")
            log.write(b"\n" * torn + text.encode() + b"\n")

    def terminate(self) -> None:
        """SIGTERM to the worker's whole group."""
        if self.process is not None and self.process.poll() is None:
            stop_group(self.process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the worker's whole group, and wait for it."""
        if self.process is not None and not self.ended:
            stop_group(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.ended = True

    def clean(self, keep_outputs: bool) -> None:
        """Remove the copies that lie in the bucket too; what the job wrote elsewhere stays."""
        shutil.rmtree(self.paths.inputs, ignore_errors=True)
        self._credentials.unlink(missing_ok=True)
        if not keep_outputs:
            shutil.rmtree(self.paths.outputs, ignore_errors=True)

    def _with_cache(self, log: BinaryIO) -> list[str]:
        """The words before a command that names ``/cache``, so that it has one; or a line in the log."""
        if not cache.is_named(self.code_dir, [*self._arguments(), *self.request["environment"].values()]):
            return []
        words = cache.wrapper(self.paths.cache, self.paths.root / "root")
        if not words:
            log.write(cache.refusal().encode())
            log.flush()
        return words

    def _channels(self) -> dict[str, str]:
        """Channel name -> what the script is given: a folder (new contract) or an s3:// URL (old contract)."""
        if self.request["contract"] == "old":
            channels = [*self.request["inputs"], *self.request["outputs"]]
            return {c["name"]: "s3://" + c["url"].split("://", 1)[1] for c in channels}
        return {c["name"]: f"{folder}/" for c, folder in [*self.input_folders(), *self.output_folders()]}

    def _arguments(self) -> list[str]:
        parameters = [f"--{p['name']}={p['value']}" for p in self.request["parameters"]]
        given = self._channels()
        channels = [*self.request["inputs"], *self.request["outputs"]]
        urls = [f"--{c['name']}={given[c['name']]}" for c in channels if c["access"] == "parameter"]
        return [*parameters, *urls, *self.request["arguments"]]

    def _environment(self, buckets: Path) -> dict[str, str]:
        passed = {k: v for k, v in os.environ.items() if k in PASSED_ON or k.startswith(PASSED_ON_PREFIXES)}
        nodes, index, run = self.request["nodes"], self.index, self.request["run"]
        size = nodes * self.devices
        meeting = {"MS_SCHED_HOST": "127.0.0.1", "MS_SCHED_PORT": str(self.request.get("meeting_port", 0))}
        hosts = ",".join(["127.0.0.1"] * nodes)
        inputs = [
            {"name": c["name"], "local_dir": str(f), "remote": {"obs": {"obs_url": c["url"]}}}
            for c, f in self.input_folders()
        ]
        outputs = [
            {"name": c["name"], "local_dir": str(f), "remote": {"obs": {"obs_url": c["url"]}}}
            for c, f in self.output_folders()
        ]
        platform = {
            "MA_HOME": str(self.paths.home),
            "MA_MOUNT_PATH": str(self.paths.mount),
            "MA_JOB_DIR": str(self.paths.job_dir),
            "MA_LOG_DIR": str(self.paths.log),
            "MA_SCRIPT_INTERPRETER": self.request["python"],
            "MA_CURRENT_IP": "127.0.0.1",
            "MA_CURRENT_HOST_IP": "127.0.0.1",
            "MA_NUM_HOSTS": str(nodes),
            "MA_NUM_GPUS": str(self.request.get("cards", 0) or self.devices * (self.devices > 1)),
            "MA_TASK_NAME": "worker",
            "MA_VJ_NAME": f"ma-job-{run}",
            "MA_CURRENT_INSTANCE_NAME": f"ma-job-{run}-worker-{index}",
            "MA_INPUTS": json.dumps({"inputs": inputs}),
            "MA_OUTPUTS": json.dumps({"outputs": outputs}),
            "VC_TASK_INDEX": str(index),
            "VC_WORKER_NUM": str(nodes),
            "VC_WORKER_HOSTS": hosts,
            "RANK_ID": str(self.first_rank),
            "RANK_SIZE": str(size),
            **(meeting if size > 1 else {}),
            "DEVICE_ID": "0",
            "ASCEND_DEVICE_ID": "0",
            "JOB_ID": run,
            **self._store(buckets),
            "LAUNCHER_CACHE": str(self.paths.cache),
            "PYTHONPATH": str(self.code_dir),
            "PYTHONUNBUFFERED": "1",
        }
        channels = [*self.request["inputs"], *self.request["outputs"]]
        given = self._channels()
        by_variable = {c["name"]: given[c["name"]] for c in channels if c["access"] == "env"}
        environment = {**passed, **platform, **by_variable, **self.request["environment"]}
        path = [environment["PYTHONPATH"], str(SITE)]  # last: a module of the job's own wins
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        return environment

    def _store(self, buckets: Path) -> dict[str, str]:
        """How the job finds its buckets: in a folder or, for the emulator of ModelArts, in an object store.

        The store's keys are the run's own, temporary ones, as those that ModelArts gives a container. They stand in a
        file that only this user can read and that goes with the run, and in no variable, argument or log: printing the
        environment, as scripts do, shows none. `storage.obs` reads that file, and so does the emulated moxing.
        """
        if self.request.get("store") != "obs":
            return {"LAUNCHER_BUCKETS": str(buckets)}
        keys = {name: os.environ.get(f"OBS_{variable}", "") for name, variable in KEYS.items()}
        with open(os.open(self._credentials, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write("[basic]\n" + "".join(f"{name} = {value}\n" for name, value in keys.items() if value))
        settings = {name: os.environ[name] for name in STORE_SETTINGS if name in os.environ}
        endpoint = settings.get("OBS_ENDPOINT", "")
        return {
            **settings,
            **self._rank_table(),
            "HUAWEICLOUD_SDK_CREDENTIALS_FILE": str(self._credentials),
            "S3_ENDPOINT": endpoint,
            "S3_USE_HTTPS": str(int(endpoint.startswith("https"))),
            "S3_VERIFY_SSL": "0",
        }

    def _rank_table(self) -> dict[str, str]:
        """The file by which Ascend's scheduler tells who takes part, where the run has cards ("template two")."""
        if not self.request.get("cards"):
            return {}
        nodes, run = self.request["nodes"], self.request["run"]
        instances = [
            {
                "devices": [
                    {"device_id": str(device), "device_ip": f"192.0.2.{(index * self.devices + device) % 250 + 1}"}
                    for device in range(self.devices)
                ],
                "pod_name": f"ma-job-{run}-worker-{index}",
                "server_id": f"127.0.0.{index % 250 + 1}",
            }
            for index in range(nodes)
        ]
        count = str(nodes * self.devices)
        group = {"device_count": count, "group_name": "job-trainjob", "instance_count": str(nodes)}
        table = {"status": "completed", "group_count": "1", "group_list": [{**group, "instance_list": instances}]}
        place = self.paths.root / "user" / "config" / "jobstart_hccl.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(table))
        return {"RANK_TABLE_FILE": str(place)}


def stop_group(group: int, signal_number: int) -> None:
    """Send a signal to a process group that may be gone already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal_number)


def free_port() -> int:
    """Where the ranks of a run may meet; another program may take it in between, and then the run fails."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def oom_kills() -> int:
    """How many processes the kernel of this machine has ended for want of memory; 0 where it does not say."""
    try:
        text = Path("/proc/vmstat").read_text("ascii")
    except OSError:
        return 0
    found = [line.split()[1] for line in text.splitlines() if line.startswith("oom_kill ")]
    return int(found[0]) if found else 0


def out_of_memory(code: int, before: int) -> str:
    """What to add to an exit code when the kernel has ended a process for want of memory since there were `before`."""
    if code != 128 + signal.SIGKILL or oom_kills() <= before:
        return ""
    smaller = "a smaller batch_size or image_size takes less, and --resume goes on from the last checkpoint"
    return f": the machine ran out of memory; {smaller}"
