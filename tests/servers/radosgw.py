"""Ceph's radosgw with one monitor and one object store in memory: the S3 server with the fewest gaps.

It comes from the distribution: `apt-get install --no-install-recommends radosgw ceph-mon ceph-osd`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.process import (
    ACCESS_KEY,
    SECRET_KEY,
    Server,
    free_ports,
    running,
    wait_for,
    wait_until_usable,
)

_BINARIES = ("radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool")

_CONFIG = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon}/0]
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
ms bind ipv6 = false
ms mon client mode = crc
ms mon service mode = crc
ms mon cluster mode = crc
ms client mode = crc
ms service mode = crc
ms cluster mode = crc
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 10000
mon data avail crit = 1
run dir = {home}/run
admin socket = {home}/run/$name.asok
log file = {home}/log/$name.log
pid file = {home}/run/$name.pid
[mon]
mon data = {home}/mon
mon cluster log file = {home}/log/cluster.log
[osd]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
osd data = {home}/osd
osd journal = {home}/osd/journal
osd objectstore = memstore
memstore device bytes = 4294967296
osd class load list = *
osd class default list = *
[client.rgw.a]
rgw data = {home}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw thread pool size = 64
rgw dns name = localhost
rgw s3 auth use keystone = false
rgw enable usage log = false
rgw enable gc threads = false
rgw enable lc threads = false
rgw enable quota threads = false
rgw dynamic resharding = false
"""
"""`none` for authentication also needs `crc` for all connections, or radosgw waits for ever."""


@contextlib.contextmanager
def radosgw() -> Iterator[Server]:
    """A cluster of three processes in the foreground, so that all of them end with the tests."""
    missing = [name for name in _BINARIES if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (apt-get install radosgw ceph-mon ceph-osd)")
    with tempfile.TemporaryDirectory(prefix="radosgw-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        for name in ("mon", "osd", "rgw", "run", "log"):
            (home / name).mkdir()
        port, mon = free_ports(2)
        fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
        config = home / "ceph.conf"
        config.write_text(_CONFIG.format(home=home, fsid=fsid, port=port, mon=mon))
        log = home / "servers.log"
        server = Server("radosgw", f"http://127.0.0.1:{port}")

        def run(*command: str) -> bool:
            env = {**os.environ, "CEPH_CONF": str(config)}
            with log.open("ab") as output:
                done = subprocess.run(command, stdout=output, stderr=output, env=env, timeout=60, check=False)
            return done.returncode == 0

        def must(*command: str) -> None:
            if not run(*command):
                raise RuntimeError(f"{command} failed:\n{log.read_text(errors='replace')[-2000:]}")

        must("monmaptool", "--create", "--addv", "a", f"[v2:127.0.0.1:{mon}]", "--fsid", fsid, str(home / "monmap"))
        must("ceph-mon", "--mkfs", "-i", "a", "-c", str(config), "--monmap", str(home / "monmap"))
        with contextlib.ExitStack() as stack:

            def start(*command: str) -> subprocess.Popen[bytes]:
                return stack.enter_context(running([*command, "-c", str(config)], log))

            processes = [start("ceph-mon", "-f", "-i", "a")]
            wait_for(lambda: run("ceph", "--connect-timeout", "5", "osd", "new", osd, "0"), processes, log, 60)
            must("ceph", "osd", "crush", "add", "0", "1.0", "root=default", "host=h0")
            must("ceph-osd", "-i", "0", "-c", str(config), "--mkfs", "--osd-uuid", osd)
            processes.append(start("ceph-osd", "-f", "-i", "0"))
            wait_for(lambda: _osd_is_up(config), processes, log, 60)
            must("ceph-authtool", "--create-keyring", str(home / "rgw/keyring"), "--gen-key", "-n", "client.rgw.a")
            processes.append(start("radosgw", "-f", "-n", "client.rgw.a"))
            user = ["user", "create", "--uid=test", "--display-name=test"]
            keys = [f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}"]
            must("radosgw-admin", "-n", "client.rgw.a", "-c", str(config), *user, *keys)
            wait_until_usable(server, processes, log, 90)
            yield server


def _osd_is_up(config: Path) -> bool:
    command = ["ceph", "-c", str(config), "osd", "stat"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return "1 up" in done.stdout
