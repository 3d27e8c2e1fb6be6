"""nginx as a store that is fast enough for every client: it answers what S3 clients need and forgets the rest.

Real servers are slower than every good client on two cores, so the sink gives out files on a tmpfs, and listings that
lie ready beside them; what is sent to it is read to the end, counted and dropped, and multi-part uploads get canned
answers. Keeping it would take more of the two cores than a good client does, above all pages of memory that were never
used before, and would count against whoever sends most in one request. No signature is checked. Four ports: plain, TLS,
plain with 20 ms before every answer, and plain with ETags on what is downloaded (CRT).
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LATENCY = 0.02
"""Seconds before every answer of the slow port."""
PORTS = ("plain", "tls", "slow", "tagged")
ECHO = "ngx_http_echo_module.so"
MODULES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")

STARTED = (
    '<?xml version="1.0"?><InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u1</UploadId>'
    "</InitiateMultipartUploadResult>"
)
COMPLETED = (
    '<?xml version="1.0"?><CompleteMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><ETag>"0-2"</ETag>'
    "</CompleteMultipartUploadResult>"
)
STORE = f"""
    root @ROOT@/data;
    set $what "$request_method$args";
    location = /.put {{ internal; echo_read_request_body; echo_exec @taken; }}
    location @taken {{ auth_request off; access_log @ROOT@/taken.log taken buffer=64k flush=50ms;
      add_header ETag '"00000000000000000000000000000000-1"' always; return 200 ''; }}
    location ~ "^/[^/]+/?$" {{
      default_type application/xml;
      if ($request_method = HEAD) {{ return 200; }}
      if ($request_method = PUT) {{ return 200; }}
      if ($request_method = POST) {{ return 200 '<?xml version="1.0"?><DeleteResult/>'; }}
      if ($args ~ "location") {{ return 200 '<?xml version="1.0"?><LocationConstraint/>'; }}
      try_files /.lists/$arg_prefix$list_level$list_token.xml /.lists/empty.xml =404;
    }}
    location / {{
      @ETAG@
      add_header x-amz-meta-mtime $mtime_of_head;
      if ($request_method = PUT) {{ rewrite ^ /.put last; }}
      if ($request_method = DELETE) {{ return 204; }}
      if ($what ~ "^POST.*uploads") {{ return 200 '{STARTED}'; }}
      if ($what ~ "^POST.*uploadId") {{ return 200 '{COMPLETED}'; }}
      try_files $uri =404;
    }}
"""
UNTAGGED = STORE.replace("@ETAG@", "etag off;")
TAGGED = STORE.replace("@ETAG@", "etag on;")
CONFIGURATION = f"""
load_module @ECHO@;
daemon off; worker_processes 2; pid @ROOT@/nginx.pid; error_log @ROOT@/error.log crit; @USER@
events {{ worker_connections 8192; }}
http {{
  log_format taken $content_length; access_log off; sendfile on; sendfile_max_chunk 2m; tcp_nopush on; tcp_nodelay on;
  keepalive_requests 100000000; keepalive_timeout 300s; client_max_body_size 0; client_body_buffer_size 64m;
  client_body_temp_path @ROOT@/body; proxy_temp_path @ROOT@/proxy; fastcgi_temp_path @ROOT@/fastcgi;
  uwsgi_temp_path @ROOT@/uwsgi; scgi_temp_path @ROOT@/scgi;
  default_type application/octet-stream; types {{ }}
  map $request_method $mtime_of_head {{ default ""; HEAD "@MTIME@"; }}
  map $args $list_level {{ default ""; "~delimiter=(%2F|/)" "-level"; }}
  map $args $list_token {{ default ""; "~(continuation-token|marker)=(?<token>[^&]+)" "-$token"; }}
  server {{ listen 127.0.0.1:@PLAIN@ backlog=4096; {UNTAGGED} }}
  server {{ listen 127.0.0.1:@TAGGED@ backlog=4096; {TAGGED} }}
  server {{ listen 127.0.0.1:@TLS@ ssl backlog=4096;
    ssl_certificate @ROOT@/cert.pem; ssl_certificate_key @ROOT@/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3; {UNTAGGED} }}
  server {{ listen 127.0.0.1:@SLOW@ backlog=4096; auth_request /.delay;
    location = /.delay {{ internal; echo_sleep {LATENCY}; echo ok; }} {UNTAGGED} }}
}}
"""


@dataclass(frozen=True)
class Sink:
    """A running sink. Buckets are the folders of ``data``; ``lists`` holds the listings (see ``trees``)."""

    root: Path
    ports: dict[str, int]
    """``plain``, ``tls``, ``slow``, ``tagged``."""

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def lists(self) -> Path:
        return self.data / ".lists"

    @property
    def certificate(self) -> Path:
        return self.root / "cert.pem"

    def taken(self) -> int:
        """Bytes of all bodies that were sent to it since this was asked before; the last ones 50 ms after they came."""
        log = self.root / "taken.log"
        found = sum(int(length) for length in log.read_text().split() if length != "-")
        os.truncate(log, 0)
        return found

    def url(self, port: str) -> str:
        return f"{'https' if port == 'tls' else 'http'}://127.0.0.1:{self.ports[port]}"


@contextmanager
def sink(root: Path, mtime: int) -> Iterator[Sink]:
    """A sink in the new folder ``root``, and none when the block ends. ``mtime`` (POSIX seconds): what HEAD says."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")
    echo = next((f"{folder}/{ECHO}" for folder in MODULES if Path(folder, ECHO).exists()), None)
    if not nginx or not echo:
        raise SystemExit(
            "this bench needs nginx and its echo module: apt-get install nginx-light libnginx-mod-http-echo"
        )
    ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
    running = Sink(root, ports)
    running.lists.mkdir(parents=True)
    certificate = ["openssl", "req", "-x509", "-nodes", "-days", "2"]
    certificate += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(root / "key.pem"), "-out", str(root / "cert.pem")]
    subprocess.run([*certificate, *names, *files], check=True, capture_output=True)
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    text = CONFIGURATION.replace("@ECHO@", echo).replace("@ROOT@", str(root)).replace("@USER@", user)
    text = text.replace("@MTIME@", str(mtime))
    for name, port in ports.items():
        text = text.replace(f"@{name.upper()}@", str(port))
    (root / "nginx.conf").write_text(text)
    server = subprocess.Popen([nginx, "-p", str(root), "-c", str(root / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        _wait(server, ports["plain"])
        yield running
    finally:
        server.terminate()
        server.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _wait(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit("nginx did not start: see error.log, or run it by hand with this module's configuration")
