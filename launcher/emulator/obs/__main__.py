"""`python -m launcher.emulator.obs`: the server as a process.

The keys come from OBS_ACCESS_KEY_ID and OBS_SECRET_ACCESS_KEY, never from the command line, which every user of the
machine can read. It prints its endpoint on one line when it is ready, and ends with SIGTERM or Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from .server import ObsServer
from .signature import Account


def main() -> int:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(prog="python -m launcher.emulator.obs", description="A small OBS over folders.")
    parser.add_argument("--root", type=Path, required=True, help="the folder of buckets")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--location", default="cn-north-4", help="the region that buckets are said to lie in")
    chosen = parser.parse_args()
    access_key, secret = os.environ.get("OBS_ACCESS_KEY_ID", ""), os.environ.get("OBS_SECRET_ACCESS_KEY", "")
    if not access_key or not secret:
        print("set OBS_ACCESS_KEY_ID and OBS_SECRET_ACCESS_KEY to the keys that clients will use", file=sys.stderr)
        return 2
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    accounts = {access_key: Account(secret)}
    with ObsServer(chosen.root, chosen.port, accounts, location=chosen.location) as server:
        print(server.endpoint, flush=True)
        over.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
