"""The command line of each client for each task."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.transfer.peers import program
from bench.transfer.sink import Sink

HOUSE = Path(__file__).resolve().parents[2]
BUCKET = "bucket"


@dataclass(frozen=True)
class Task:
    """One tree, one way, over one port of the sink."""

    way: str
    """``up``, ``down`` or ``sync``."""
    port: str
    """``plain``, ``tls`` or ``slow``."""
    source: Path
    """The local tree; of a download, what must arrive."""
    prefix: str
    """Where it lies in the bucket, or goes to."""
    target: Path
    """Where a download goes to."""


def command(client: str, task: Task, sink: Sink, peers: Path, scratch: Path) -> list[str]:
    """``ours``, ``ours packed``, ``s5cmd``, ``rclone``, ``minio-py``, ``boto3`` or ``boto3 CRT``."""
    url, certificate = sink.url(task.port), str(sink.certificate)
    local = task.target if task.way == "down" else task.source
    if client.startswith("ours"):
        packed = client == "ours packed"
        what = task.way if task.way != "up" or not packed else "up-packed"
        prefix = task.prefix + ("-packed" if packed and task.way == "down" else "")
        script = [sys.executable, "-m", "bench.transfer.ours"]
        return [*script, what, url, str(local), prefix, certificate, str(scratch / "hashes")]
    remote = f"{BUCKET}/{task.prefix}"
    if client == "s5cmd":
        verb = "sync" if task.way == "sync" else "cp"
        start = [program(peers, "s5cmd"), "--log", "error", "--endpoint-url", url, verb]
        if task.way == "down":
            return [*start, f"s3://{remote}/*", f"{local}/"]
        return [*start, f"{local}/" if task.way == "sync" else f"{local}/*", f"s3://{remote}/"]
    if client == "rclone":
        verb = "sync" if task.way == "sync" else "copy"
        given = f":s3,provider=Other,access_key_id=key,secret_access_key=secretsecret,endpoint='{url}':{remote}"
        pair = [given, str(local)] if task.way == "down" else [str(local), given]
        return [program(peers, "rclone"), "--config", "", "--ca-cert", certificate, verb, *pair]
    name = {"minio-py": "minio", "boto3": "boto3", "boto3 CRT": "boto3-crt"}[client]
    if name == "boto3-crt" and task.way == "down" and task.port == "plain":
        url = sink.url("tagged")
    script = [str(peers / "bin" / "python"), str(Path(__file__).with_name("theirs.py"))]
    return [*script, name, task.way, url, str(task.source), task.prefix, str(task.target), certificate]


def environment(sink: Sink, scratch: Path) -> dict[str, str]:
    """Of every client: nothing of the person's own settings; temporary files on the tmpfs, as everything else."""
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secretsecret", "AWS_REGION": "us-east-1"}
    places = {"HOME": str(scratch), "TMPDIR": str(scratch), "SSL_CERT_FILE": str(sink.certificate)}
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(HOUSE), **keys, **places}
