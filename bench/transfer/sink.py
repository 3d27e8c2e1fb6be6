"""nginx as a store that is fast enough for every client: it answers what S3 clients need and forgets the rest.

Real servers are slower than every good client on two cores, so the sink is WebDAV on a tmpfs with canned answers for
multi-part uploads, and listings that lie ready as files. No signature is checked. Five ports: plain, TLS, plain with
20 ms before every answer, plain with 200 in place of WebDAV's 201 for clients that insist on it (minio-py, CRT), and
plain with ETags on what is downloaded (CRT).
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
PORTS = ("plain", "tls", "slow", "fine", "inner", "tagged")
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
MULTIPART = f"""
      set $what "$request_method$args";
      if ($what ~ "^POST.*uploads") {{ return 200 '{STARTED}'; }}
      if ($what ~ "^POST.*uploadId") {{ return 200 '{COMPLETED}'; }}
      if ($what ~ "^DELETE.*uploadId") {{ return 204; }}
"""
STORE = f"""
    root @ROOT@/data;
    location ~ "^/[^/]+/?$" {{
      default_type application/xml;
      if ($request_method = HEAD) {{ return 200; }}
      if ($request_method = PUT) {{ return 200; }}
      if ($request_method = POST) {{ return 200 '<?xml version="1.0"?><DeleteResult/>'; }}
      if ($args ~ "location") {{ return 200 '<?xml version="1.0"?><LocationConstraint/>'; }}
      try_files /.lists/$arg_prefix$list_level$list_token.xml /.lists/empty.xml =404;
    }}
    location / {{
      dav_methods PUT DELETE; create_full_put_path on; dav_access user:rw;
      @ETAG@
      add_header x-amz-meta-mtime $mtime_of_head;
      {MULTIPART}
      if ($what ~ "^PUT.*partNumber=([0-9]+)") {{ set $part $1; add_header ETag $etag_of_put always;
        rewrite "^(.*)$" $1.part$part break; }}
    }}
"""
UNTAGGED = STORE.replace("@ETAG@", "add_header ETag $etag_of_put always;")
"""No ETag on what is downloaded: an empty one takes nginx's own away."""
TAGGED = STORE.replace("@ETAG@", "etag on;")
CONFIGURATION = f"""
load_module @ECHO@;
daemon off; worker_processes 2; pid @ROOT@/nginx.pid; error_log @ROOT@/error.log crit; @USER@
events {{ worker_connections 8192; }}
http {{
  access_log off; sendfile on; sendfile_max_chunk 2m; tcp_nopush on; tcp_nodelay on; aio threads; etag off;
  keepalive_requests 100000000; keepalive_timeout 300s; client_max_body_size 0; client_body_buffer_size 1m;
  client_body_temp_path @ROOT@/body; proxy_temp_path @ROOT@/proxy; fastcgi_temp_path @ROOT@/fastcgi;
  uwsgi_temp_path @ROOT@/uwsgi; scgi_temp_path @ROOT@/scgi;
  default_type application/octet-stream; types {{ }}
  map $request_method $etag_of_put {{ default ""; PUT '"00000000000000000000000000000000-1"'; }}
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
  upstream fine {{ server 127.0.0.1:@INNER@; keepalive 32; }}
  server {{ listen 127.0.0.1:@FINE@ backlog=4096;
    location / {{ client_body_in_file_only clean; proxy_pass_request_body off; proxy_set_header Content-Length "";
      proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://fine; }} }}
  server {{ listen 127.0.0.1:@INNER@ backlog=4096; default_type application/xml;
    location / {{ add_header ETag '"0-1"' always; {MULTIPART} return 200 ''; }} }}
}}
"""


@dataclass(frozen=True)
class Sink:
    """A running sink. Buckets are the folders of ``data``; ``lists`` holds the listings (see ``trees``)."""

    root: Path
    ports: dict[str, int]
    """``plain``, ``tls``, ``slow``, ``fine``, ``tagged``."""

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def lists(self) -> Path:
        return self.data / ".lists"

    @property
    def certificate(self) -> Path:
        return self.root / "cert.pem"

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
